"""Our offline store gives through Feast's call what Feast's DuckDB store gives, and every row in its order."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import DeltaFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float64, Int64, String

from feature_repo.stores import offline_store
from lodestar.errors import EnvironmentFault, UsageError

BASE = pd.Timestamp("2026-01-01", tz="UTC")
STAMP = pa.timestamp("us", tz="UTC")
OURS = "feature_repo.stores.offline_store.AsOfOfflineStore"
pytestmark = pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature:RuntimeWarning")
FEATURES = ["clicks:count", "clicks:recent", "clicks:name", "pairs:score"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two views' rows, some late, some at one time, with texts and lists; `pairs` has two keys, other column names and two files."""
    folder, rng, count = tmp_path_factory.mktemp("tables"), np.random.default_rng(0), 400
    hours = rng.integers(0, 200, count)
    times = {
        "happened": pa.array([(BASE + timedelta(hours=int(hour))).to_pydatetime() for hour in hours], STAMP),
        "known": pa.array(
            [(BASE + timedelta(hours=int(hour) + place % 7, seconds=place)).to_pydatetime() for place, hour in enumerate(hours)], STAMP
        ),
    }
    users = pa.array([f"u{one}" for one in rng.integers(0, 12, count)])
    texts = {"name": pa.array([None if place % 5 == 0 else f"n{place}" for place in range(count)])}
    lists = {"recent": pa.array([[f"i{place}"] * (place % 3) for place in range(count)])}
    pq.write_table(pa.table({"user": users, "count": np.arange(count), **texts, **lists, **times}), folder / "clicks.parquet")
    pairs = pa.table({"uid": users, "item": rng.integers(0, 3, count), "raw": rng.random(count), **times})
    (folder / "pairs").mkdir()
    pq.write_table(pairs.slice(0, 150), folder / "pairs" / "0.parquet", row_group_size=40)
    pq.write_table(pairs.slice(150), folder / "pairs" / "1.parquet")
    pq.write_table(pairs, folder / "pairs.parquet")
    return folder


def opened(folder: Path, kind: str, pairs: str, state: Path) -> FeatureStore:
    offline = {"type": kind} | ({"root": str(folder)} if kind == OURS else {})
    files: dict[str, Any] = {
        "registry": {"path": str(state / "registry.db")},
        "online_store": {"type": "sqlite", "path": str(state / "online.db")},
    }
    store = FeatureStore(config=RepoConfig(project="join", provider="local", offline_store=offline, **files))
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    item = Entity(name="item", join_keys=["item"], value_type=ValueType.INT64)
    times: dict[str, Any] = {"timestamp_field": "happened", "created_timestamp_column": "known"}
    start = "" if kind == OURS else f"{folder}/"
    clicks = FeatureView(
        name="clicks",
        entities=[user],
        ttl=timedelta(days=1),  # Feast cannot read days and hours at once
        schema=[Field(name="count", dtype=Int64), Field(name="recent", dtype=Array(String)), Field(name="name", dtype=String)],
        source=FileSource(name="clicks_table", path=f"{start}clicks.parquet", **times),
    )
    paired = FeatureView(
        name="pairs",
        entities=[user, item],
        ttl=timedelta(0),
        schema=[Field(name="score", dtype=Float64)],
        source=FileSource(name="pairs_table", path=start + pairs, field_mapping={"uid": "user", "raw": "score"}, **times),
    )

    @on_demand_feature_view(sources=[clicks], schema=[Field(name="half", dtype=Float64)], mode="python")  # type: ignore[untyped-decorator]
    def halves(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"half": [None if count is None or np.isnan(count) else count / 2 for count in inputs["count"]]}

    store.apply([user, item, clicks, paired, halves])
    return store


@pytest.fixture(scope="module")
def ours(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return opened(tables, OURS, "pairs", tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tables: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return opened(tables, "duckdb", "pairs.parquet", tmp_path_factory.mktemp("theirs"))


@pytest.fixture
def entity_rows() -> pd.DataFrame:
    """Rows of known and unknown entities, some twice, at whole hours, so that limits are met."""
    rng, count = np.random.default_rng(1), 300
    hours = pd.to_timedelta(rng.integers(-5, 240, count), unit="h")
    frame = pd.DataFrame({"user": [f"u{one}" for one in rng.integers(0, 14, count)], "item": rng.integers(0, 4, count)})
    frame["event_timestamp"] = (BASE + hours).astype("datetime64[us, UTC]")
    frame["row"] = np.arange(count)
    return pd.concat([frame, frame.head(20)], ignore_index=True)


@pytest.mark.parametrize("only_known", [True, False])
@pytest.mark.parametrize("full_names", [True, False])
def test_the_join_is_that_of_feasts_duckdb_store(
    ours: FeatureStore, theirs: FeatureStore, entity_rows: pd.DataFrame, only_known: bool, full_names: bool
) -> None:
    options: dict[str, Any] = {"features": FEATURES, "full_feature_names": full_names, "filter_by_created_timestamp": only_known}
    found = ours.get_historical_features(entity_df=entity_rows, **options).to_df()
    expected = theirs.get_historical_features(entity_df=entity_rows.drop_duplicates("row"), **options).to_df().set_index("row")
    assert found["row"].tolist() == entity_rows["row"].tolist()
    assert found.columns.tolist() == [
        *entity_rows.columns,
        *(feature.replace(":", "__") if full_names else feature.split(":")[1] for feature in FEATURES),
    ]
    expected = expected.loc[found["row"]].reset_index()[found.columns]
    pd.testing.assert_frame_equal(_comparable(found), _comparable(expected), check_dtype=False)
    assert 0 < found[found.columns[-1]].isna().sum() < len(found)


def _comparable(frame: pd.DataFrame) -> pd.DataFrame:
    lists = next(name for name in frame.columns if name.endswith("recent"))
    frame = frame.copy()
    frame[lists] = pd.Series([None if value is None else tuple(value) for value in frame[lists]], dtype=object)
    return frame


def test_a_feature_on_demand_is_computed_from_what_was_joined(ours: FeatureStore, entity_rows: pd.DataFrame) -> None:
    found = ours.get_historical_features(entity_df=entity_rows, features=["clicks:count", "halves:half"]).to_df()
    pd.testing.assert_series_equal(found["half"], found["count"] / 2, check_names=False)


def test_times_may_be_texts(ours: FeatureStore, entity_rows: pd.DataFrame) -> None:
    texts = entity_rows.assign(event_timestamp=[time.isoformat() for time in entity_rows["event_timestamp"]])
    found, expected = (ours.get_historical_features(entity_df=rows, features=FEATURES).to_df() for rows in (texts, entity_rows))
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_entity_rows_come_back_as_they_were(ours: FeatureStore, entity_rows: pd.DataFrame) -> None:
    label = pd.array([None, 1] * (len(entity_rows) // 2), dtype="Int8")
    given = (
        entity_rows.assign(label=label, part=pd.Categorical(entity_rows["user"]))
        .rename(columns={"row": 7})
        .set_index(entity_rows.index[::-1])
    )
    before = given.copy()
    found = ours.get_historical_features(entity_df=given, features=["clicks:count"]).to_df()
    pd.testing.assert_frame_equal(found[given.columns], before.reset_index(drop=True))
    found.loc[:, ["label", "count"]] = 7
    pd.testing.assert_frame_equal(given, before)


def test_joined_rows_can_be_saved(ours: FeatureStore, entity_rows: pd.DataFrame, tmp_path: Path) -> None:
    job = ours.get_historical_features(entity_df=entity_rows, features=["pairs:score"])
    saved = tmp_path / "saved.parquet"
    job.persist(SavedDatasetFileStorage(path=str(saved)))
    assert pq.read_table(saved).equals(job.to_arrow())
    assert job.metadata is not None
    assert job.metadata.features == ["pairs:score"]


@pytest.mark.parametrize("only_newest", [True, False])
def test_what_is_materialised_is_the_newest_row_within_the_window(tables: Path, tmp_path: Path, only_newest: bool) -> None:
    ours = opened(tables, OURS, "pairs", tmp_path)
    ours.config.materialization_config.pull_latest_features = only_newest
    end = datetime(2026, 1, 4, tzinfo=UTC)
    rows = pd.read_parquet(tables / "clicks.parquet").sort_values(["happened", "known"], kind="stable")
    newest = rows[rows["happened"] <= end].groupby("user")["count"].last()
    ours.materialize(datetime(2026, 1, 1, tzinfo=UTC), end, feature_views=["clicks"])
    answer = ours.get_online_features(features=["clicks:count"], entity_rows=[{"user": user} for user in newest.index]).to_dict()
    assert answer["count"] == newest.tolist()


def test_rows_that_are_no_frame_and_files_that_are_no_parquet_are_refused(
    ours: FeatureStore, entity_rows: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="data frame"):
        ours.get_historical_features(entity_df="SELECT 1", features=FEATURES)
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    for source, error in (
        (FileSource(name="delta", path=str(tmp_path), timestamp_field="t", file_format=DeltaFormat()), UsageError),
        (FileSource(name="nowhere", path="nowhere.parquet", timestamp_field="t"), EnvironmentFault),
    ):
        view = FeatureView(name=f"{source.name}_view", entities=[user], schema=[Field(name="count", dtype=Int64)], source=source)
        ours.apply(view)
        with pytest.raises(error):
            ours.get_historical_features(entity_df=entity_rows, features=[f"{view.name}:count"])


@pytest.mark.parametrize(("of_s3", "of_all", "expected"), [("a", "b", "a"), ("", "b", "b"), ("", "", "")])
def test_arrow_reads_the_store_that_boto3_reads(of_s3: str, of_all: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", of_s3)
    monkeypatch.setenv("AWS_ENDPOINT_URL", of_all)
    assert offline_store._endpoint() == expected
