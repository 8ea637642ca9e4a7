"""Online values: nothing older replaces what is newer, and what is too old is not told."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float32

from feature_repo import entities, push, store
from lodestar import schema

REPOSITORY = Path(store.__file__).parent
DAY = datetime(2025, 1, 1, tzinfo=UTC)
FEATURE, FADING = "events_1h", "fading"
TTL = timedelta(hours=2)


@pytest.fixture(params=[store.LAPTOP, store.REDIS])
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeatureStore]:
    """A store over two small tables, with SQLite and with Redis: one that takes pushes and one whose values live for two hours."""
    if request.param == store.REDIS:
        monkeypatch.setenv("LODESTAR_REDIS", request.getfixturevalue("redis"))
    (tmp_path / "data").mkdir()
    found = FeatureStore(repo_path=str(tmp_path), fs_yaml_file=REPOSITORY / request.param)
    found.config.project = tmp_path.name  # whose keys in Redis are no other test's
    found.config.offline_store.root = str(tmp_path)
    times: dict[str, Any] = {"timestamp_field": schema.FEATURE_TIME, "created_timestamp_column": schema.KNOWN_TIME}
    common: dict[str, Any] = {"entities": [entities.user], "ttl": timedelta(0)}
    counts = FeatureView(
        name=schema.USER_ACTIVITY_VIEW,
        schema=[Field(name=FEATURE, dtype=Float32)],
        source=push.source(schema.USER_ACTIVITY_VIEW),
        **common,
    )
    fading = FeatureView(
        name=FADING,
        schema=[Field(name="mood", dtype=Float32)],
        source=FileSource(name="fading_table", path=f"data/{FADING}.parquet", **times),
        **common | {"ttl": TTL},
    )
    service = FeatureService(name="both", features=[counts, fading])
    found.apply([entities.user, counts, fading, service])
    yield found
    asyncio.run(found.close())


def rows(feature: str, *values: tuple[str, datetime, datetime, float]) -> pd.DataFrame:
    columns = [schema.USER_ID, schema.FEATURE_TIME, schema.KNOWN_TIME, feature]
    frame = pd.DataFrame(values, columns=columns).astype({feature: "float32"})
    return frame.astype(dict.fromkeys(columns[1:3], "datetime64[us, UTC]"))


def write(opened: FeatureStore, view: str, content: pd.DataFrame) -> None:
    content.to_parquet(Path(opened.config.offline_store.root) / "data" / f"{view}.parquet", index=False)


def online(opened: FeatureStore, user: str = "u") -> float:
    answer = opened.get_online_features(features=[f"{schema.USER_ACTIVITY_VIEW}:{FEATURE}"], entity_rows=[{schema.USER_ID: user}])
    return float(answer.to_dict()[FEATURE][0])


def pushed(opened: FeatureStore, happened: datetime, known: datetime, value: float) -> None:
    opened.push(push.name(schema.USER_ACTIVITY_VIEW), rows(FEATURE, ("u", happened, known, value)))


def after(**time: float) -> datetime:
    return DAY + timedelta(**time)


def test_an_older_window_that_is_materialised_again_changes_nothing(opened: FeatureStore) -> None:
    write(opened, schema.USER_ACTIVITY_VIEW, rows(FEATURE, ("u", after(days=1), after(days=1), 1), ("u", after(days=3), after(days=3), 3)))
    for first_day, last_day in ((0, 2), (2, 4), (0, 2)):
        opened.materialize(after(days=first_day), after(days=last_day), feature_views=[schema.USER_ACTIVITY_VIEW])
    assert online(opened) == 3


def test_a_push_that_is_newer_is_read_and_one_that_is_older_is_not(opened: FeatureStore) -> None:
    seen = []
    for hours, value in ((2, 20), (3, 30), (1, 10)):
        pushed(opened, after(hours=hours), after(hours=9), value)
        seen.append(online(opened))
    assert seen == [20, 30, 30]


def test_pushes_within_a_second_are_told_apart(opened: FeatureStore) -> None:
    for microseconds, value in ((500, 5), (700, 7), (600, 6)):
        pushed(opened, after(microseconds=microseconds), after(hours=1), value)
    assert online(opened) == 7


def test_a_materialised_window_does_not_replace_a_newer_push(opened: FeatureStore) -> None:
    write(opened, schema.USER_ACTIVITY_VIEW, rows(FEATURE, ("u", after(hours=1), after(hours=1), 1)))
    pushed(opened, after(hours=2), after(hours=2), 2)
    opened.materialize(DAY, after(days=1), feature_views=[schema.USER_ACTIVITY_VIEW])
    assert online(opened) == 2


def test_of_equal_times_what_became_known_last_stays(opened: FeatureStore) -> None:
    seen = []
    for known_h, value in ((2, 2), (1, 1), (3, 3), (3, 4)):
        pushed(opened, DAY, after(hours=known_h), value)
        seen.append(online(opened))
    assert seen == [2, 2, 3, 4]


def test_what_is_too_old_is_null_online_where_it_is_null_offline(opened: FeatureStore) -> None:
    now = datetime.now(UTC)
    write(opened, schema.USER_ACTIVITY_VIEW, rows(FEATURE, ("fresh", DAY, DAY, 1), ("old", DAY, DAY, 1)))
    timestamps = {"fresh": now, "edge": now - TTL + timedelta(minutes=1), "old": now - TTL - timedelta(seconds=1), "older": DAY}
    write(opened, FADING, rows("mood", *((user, timestamp, timestamp, 7) for user, timestamp in timestamps.items())))
    opened.materialize(after(days=-1), now + timedelta(seconds=1))
    users = [*timestamps, "nobody"]
    asked = pd.DataFrame({schema.USER_ID: users, schema.FEATURE_TIME: pd.to_datetime([now] * len(users))})
    service = opened.get_feature_service("both")
    offline = opened.get_historical_features(entity_df=asked, features=service, filter_by_created_timestamp=True).to_df()
    found = store.read_online(opened, "both", [{schema.USER_ID: user} for user in users], at=now)
    assert found.values["mood"] == [7, 7, None, None, None]
    assert found.values[FEATURE] == [1, 0, 1, 0, 0]  # the declared default, where nothing is known
    assert found.num_expired == 0  # our stores give none that they would have to be asked about
    assert [value is None for value in found.values["mood"]] == offline["mood"].isna().tolist()
    assert found.values[FEATURE] == offline[FEATURE].fillna(schema.DEFAULTS[FEATURE]).tolist()
    later = store.read_online(opened, "both", [{schema.USER_ID: "fresh"}], at=now + 2 * TTL)
    assert (later.values["mood"], later.num_expired) == ([None], 1)
