"""Feature tables agree with counting by hand, lie on [0, 1], and say when each row became known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.config import DataConfig, Recipe
from lodestar.data.tables import tables
from lodestar.errors import DataError
from lodestar.features.batch import event_partitions, feature_set, windows
from lodestar.features.batch.build import build_features
from lodestar.schema.time_units import HOUR_S, SECOND_US
from tests.factories import EPOCH_US, table

RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1))
Rows = list[dict[str, Any]]


def built(folder: Path, rows: list[tuple[str, str, int]], lag_s: int = 0, shown: pa.Table | None = None, start_us: int = EPOCH_US) -> Path:
    """Features of (user, item, second since `start_us`) views that became known `lag_s` later."""
    timestamps = [start_us + second * SECOND_US for _, _, second in rows]
    events = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(len(rows))],
        user_id=[user for user, _, _ in rows],
        item_id=[item for _, item, _ in rows],
        event_type=["view"] * len(rows),
        event_time=timestamps,
        ingested_at=[timestamp + lag_s * SECOND_US for timestamp in timestamps],
        request_id=["r0"] * len(rows),
    )
    names = sorted({item for _, item, _ in rows})
    about = {name: [start_us] * len(names) for name in ("created_at", "updated_at", "ingested_at")}
    items = table(schema.ITEMS, item_id=names, title=[f"<{name}>" for name in names], **about)
    source = folder / "tables"
    source.mkdir()
    tables.write({"events": events, "items": items} | ({"impressions": shown} if shown else {}), source)
    build_features(source, folder / "features", RECIPE)
    return folder / "features"


def declared(view: str) -> tuple[schema.Count, ...]:
    return schema.VIEWS[view].counts


def count_by_hand(feature: schema.Count, ages_s: list[int]) -> int:
    """What events of these ages count: whole, or less by half for each half-life that has passed."""
    length = feature.window_h * HOUR_S
    full = 1 << feature.num_half_lives
    return sum(full >> (age - 1) // length for age in ages_s if 0 < age <= length * (feature.num_half_lives + 1))


def rows_of(features: Path, view: str) -> Rows:
    rows: Rows = pq.read_table(features / "data" / f"{view}.parquet").to_pylist()
    return rows


def timestamp(row: dict[str, Any], column: str = schema.FEATURE_TIME) -> int:
    return int(row[column].timestamp()) - EPOCH_US // SECOND_US


def test_a_count_rises_after_the_hour_and_falls_when_the_window_has_passed(tmp_path: Path) -> None:
    features = built(tmp_path, [("u", "a", 10), ("u", "b", 20)])
    hours = {timestamp(row) // HOUR_S: round(row["events_1h"], 6) for row in rows_of(features, schema.USER_ACTIVITY_VIEW)}
    assert hours == {1: 1.0, 2: 0.0, 25: 0.0, 49: 0.0, 73: 0.0, 97: 0.0, 169: 0.0, 721: 0.0}


def test_counts_equal_a_naive_count_on_random_logs(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [(f"u{rng.integers(3)}", f"i{rng.integers(9)}", int(rng.integers(40 * 24 * HOUR_S))) for _ in range(300)]
    features = built(tmp_path, rows)
    largest = json.loads((features / "scalers.json").read_text())
    for row in rows_of(features, schema.USER_ACTIVITY_VIEW):
        for feature in (feature for feature in declared(schema.USER_ACTIVITY_VIEW) if schema.EventType.VIEW in feature.types):
            count = count_by_hand(feature, [timestamp(row) - second for user, _, second in rows if user == row[schema.USER_ID]])
            assert row[feature.name] == pytest.approx(min(1.0, np.log1p(count) / np.log1p(largest[feature.name])), abs=1e-6)


def test_statistics_lie_on_the_unit_interval(tmp_path: Path) -> None:
    features = built(tmp_path, [(f"u{n % 4}", f"i{n % 7}", n * 977) for n in range(200)])
    for view in (schema.USER_ACTIVITY_VIEW, schema.ITEM_STATS_VIEW):
        values = np.array([[row[feature.name] for feature in declared(view)] for row in rows_of(features, view)])
        assert values.min() >= 0
        assert values.max() <= 1


def test_a_late_event_counts_from_when_it_was_known_and_leaves_when_it_would_have(tmp_path: Path) -> None:
    features = built(tmp_path, [("u", "a", 10)], lag_s=5 * HOUR_S)
    rows = rows_of(features, schema.USER_ACTIVITY_VIEW)
    assert {timestamp(row) // HOUR_S: (row["events_1h"], row["events_1d"]) for row in rows} == {
        6: (0, 1),
        25: (0, 0),
        49: (0, 0),
        73: (0, 0),
        97: (0, 0),
        169: (0, 0),
        721: (0, 0),
    }
    assert all(row[schema.KNOWN_TIME] == row[schema.FEATURE_TIME] for row in rows)


def test_the_sequence_is_what_the_model_is_trained_on(tmp_path: Path) -> None:
    features = built(tmp_path, [("u", f"i{n % 250}", n * 60) for n in range(400)] + [("v", "i1", 5)])
    found = feature_set.load(features)
    trained = {user: [found.items.ids[item] for item in history] for user, history in _histories(found)}
    online = {row[schema.USER_ID]: row[schema.RECENT_ITEMS] for row in rows_of(features, schema.USER_SEQUENCE_VIEW)}
    assert online == {user: items[-schema.MAX_HISTORY :] for user, items in trained.items()}


def _histories(found: feature_set.FeatureSet) -> Any:
    return zip(found.interactions.users, found.interactions.histories(), strict=True)


def test_gaps_are_seconds_since_the_item_before(tmp_path: Path) -> None:
    features = built(tmp_path, [("u", "a", 10), ("u", "b", 70), ("u", "a", 100), ("u", "c", 130)])
    [row] = rows_of(features, schema.USER_SEQUENCE_VIEW)
    assert (row[schema.RECENT_ITEMS], row[schema.RECENT_GAPS_S]) == (["a", "b", "c"], [0.0, 60.0, 60.0])


def test_a_shown_item_is_a_positive_within_the_window_of_its_request_only(tmp_path: Path) -> None:
    about: dict[str, list[Any]] = {"user_id": ["u"] * 2, "item_id": ["a", "b"], "position": [1, 2], "shown_at": [EPOCH_US] * 2}
    shown = table(schema.IMPRESSIONS, request_id=["r0"] * 2, **about)
    features = built(tmp_path, [("u", "a", 60), ("u", "b", 3 * HOUR_S), ("u", "c", 9000), ("u", "d", 9001), ("u", "e", 9002)], shown=shown)
    labels = {row[schema.ITEM_ID]: row[schema.LABEL] for row in rows_of(features, "labels")}
    assert labels == {"a": 1, "b": 0}


def test_what_was_shown_counts_once_its_window_has_closed_in_the_training_window(tmp_path: Path) -> None:
    shown_s = [0, 7200 - 1800 - 1, 7200 - 1800 + 1, 7300]
    about: dict[str, list[Any]] = {"user_id": ["u"] * 4, "item_id": list("aaaa"), "position": [1] * 4}
    shown = table(
        schema.IMPRESSIONS, request_id=[f"s{n}" for n in range(4)], shown_at=[EPOCH_US + second * 1_000_000 for second in shown_s], **about
    )
    rows = [("u", "a", 60), ("u", "b", 7199), ("u", "c", 7200), ("u", "d", 9001), ("u", "e", 9002)]  # the last two are left out
    assert [timestamp(row) for row in rows_of(built(tmp_path, rows, shown=shown), "labels")] == shown_s[:2]


def test_without_impressions_no_negative_was_an_interaction_before_the_user_s_cutoff(tmp_path: Path) -> None:
    rows = [(f"u{n % 5}", f"i{n % 11}", n * 60) for n in range(40)]
    labels = rows_of(built(tmp_path, rows), "labels")
    positives = {(user, item) for user, item, _ in rows[:-10]}  # the last two of each user are held out
    assert {row[schema.LABEL] for row in labels} == {0, 1}
    assert all(((row[schema.USER_ID], row[schema.ITEM_ID]) in positives) == bool(row[schema.LABEL]) for row in labels)


def test_too_little_to_learn_from_writes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "tables"
    source.mkdir()
    tables.write({}, source)
    with pytest.raises(DataError, match="E203"):
        build_features(source, tmp_path / "features", RECIPE)
    assert not (tmp_path / "features").exists()


def test_events_that_are_known_after_every_window_never_count(tmp_path: Path) -> None:
    features = built(tmp_path, [("u", "a", 10), ("v", "a", 20)], lag_s=31 * 24 * HOUR_S)
    assert rows_of(features, schema.USER_ACTIVITY_VIEW) == []


def test_how_many_events_are_held_at_once_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    rows = [(f"u{rng.integers(9)}", f"i{rng.integers(20)}", int(rng.integers(9 * HOUR_S))) for _ in range(400)]
    folders = []
    for at_once in (1_000_000, 64, 1):
        monkeypatch.setattr(event_partitions, "EVENTS_AT_ONCE", at_once)
        monkeypatch.setattr(windows, "EVENTS_AT_ONCE", max(1, at_once // 2))
        (tmp_path / str(at_once)).mkdir()
        folders.append(built(tmp_path / str(at_once), rows))
    files = [{file.relative_to(folder): file for file in folder.rglob("*") if file.is_file()} for folder in folders]
    assert files[0].keys() == files[1].keys() == files[2].keys()
    for name, file in files[0].items():
        for other in (files[1][name], files[2][name]):
            alike = (
                pq.read_table(other).equals(pq.read_table(file)) if name.suffix == ".parquet" else other.read_bytes() == file.read_bytes()
            )
            assert alike, f"{name} differs"


def test_searches_and_their_conversions_count_for_the_query_however_it_is_spelt(tmp_path: Path) -> None:
    asked = [
        ("search", "Red  Lamp", None),
        ("click", "red lamp ", "a"),
        ("view", None, "a"),
        ("search", "STRASSE", None),
        ("search", "straße", None),
    ]
    later = [("view", None, item) for item in "abcd"]  # the counts above lie in the training window
    count = len(asked) + len(later)
    timestamps = [EPOCH_US + number * SECOND_US for number in range(len(asked))] + [EPOCH_US + 3 * HOUR_S * SECOND_US] * len(later)
    asked += later
    events = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(count)],
        user_id=["u"] * count,
        item_id=[item for *_, item in asked],
        event_type=[kind for kind, *_ in asked],
        query_text=[text for _, text, _ in asked],
        event_time=timestamps,
        ingested_at=timestamps,
    )
    known = {name: [EPOCH_US] * 4 for name in ("created_at", "updated_at", "ingested_at")}
    items = table(schema.ITEMS, item_id=list("abcd"), title=list("abcd"), **known)
    (tmp_path / "tables").mkdir()
    tables.write({"events": events, "items": items}, tmp_path / "tables")
    build_features(tmp_path / "tables", tmp_path / "features", RECIPE)
    first = {row[schema.QUERY]: row for row in reversed(rows_of(tmp_path / "features", schema.QUERY_STATS_VIEW))}
    most = json.loads((tmp_path / "features" / "scalers.json").read_text())
    found = {
        query: {name: round(np.expm1(row[name] * np.log1p(most[name]))) for name in ("searches_1d", "searches_7d", "search_conversions_7d")}
        for query, row in first.items()
    }
    assert found == {
        "red lamp": {"searches_1d": 1, "searches_7d": 1, "search_conversions_7d": 1},
        "strasse": {"searches_1d": 2, "searches_7d": 2, "search_conversions_7d": 0},
    }
