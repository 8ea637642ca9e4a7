"""The as-of join at its edges, and beside pandas on plain data."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.errors import DataError
from lodestar.features.asof import asof
from lodestar.features.asof.history import NEVER, FeatureSource, between, to_microseconds
from lodestar.schema.time_units import HOUR_US

STAMP = pa.timestamp("us", tz="UTC")


def history(folder: Path, columns: dict[str, Any], **options: Any) -> FeatureSource:
    pq.write_table(pa.table(columns), folder / "rows.parquet", row_group_size=options.pop("per_group", 1000))
    given: dict[str, Any] = {"keys": {"who": "who"}, "features": {"value": "value"}, "time": "time", "known": "", "ttl_us": 0}
    return FeatureSource(files=[str(folder / "rows.parquet")], filesystem=None, **(given | options))


def test_a_row_counts_until_its_time_to_live_to_the_microsecond(tmp_path: Path) -> None:
    rows = history(tmp_path, {"who": ["u"], "time": pa.array([0], STAMP), "value": [7]}, ttl_us=HOUR_US)
    entity_rows = pa.table({"who": ["u"] * 4, "timestamp": pa.array([-1, 0, HOUR_US, HOUR_US + 1], STAMP)})
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == [None, 7, 7, None]


def test_a_row_at_the_end_of_its_time_counts_at_that_time_only(tmp_path: Path) -> None:
    rows = history(tmp_path, {"who": ["u"], "time": pa.array([0], STAMP), "value": [7]}, ttl_us=HOUR_US)
    entity_rows = pa.table({"who": ["u"], "timestamp": pa.array([HOUR_US], STAMP)})
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == [7]


@pytest.mark.parametrize("per_group", [1, 2, 100])
@pytest.mark.parametrize(("known", "expected"), [([3, 5, 4], 1), ([5, 5, 3], 1), ([3, 3, 3], 2), ([3, 4, 5], 2), ([None, 3, None], 1)])
def test_of_rows_of_one_time_the_one_known_last_holds_and_then_the_last(
    tmp_path: Path, per_group: int, known: list[int], expected: int
) -> None:
    columns = {"who": ["u"] * 3, "time": pa.array([1, 1, 1], STAMP), "known": pa.array(known, STAMP), "value": [0, 1, 2]}
    rows = history(tmp_path, columns, known="known", per_group=per_group)
    entity_rows = pa.table({"who": ["u", "v", "u"], "timestamp": pa.array([9, 9, 9], STAMP)})
    for only_known in (True, False):
        assert asof.join(entity_rows, "timestamp", [rows], only_known=only_known)["value"].to_pylist() == [expected, None, expected]


def test_ties_that_begin_to_count_at_different_times_are_told_apart(tmp_path: Path) -> None:
    columns = {"who": ["u"] * 3, "time": pa.array([1, 1, 1], STAMP), "known": pa.array([6, 2, 4], STAMP), "value": [0, 1, 2]}
    rows = history(tmp_path, columns, known="known", per_group=2)
    entity_rows = pa.table({"who": ["u"] * 4, "timestamp": pa.array([6, 5, 3, 1], STAMP)})
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == [0, 2, 1, None]


def test_a_row_known_before_it_happens_waits_until_it_does(tmp_path: Path) -> None:
    columns = {"who": ["u"], "time": pa.array([5], STAMP), "known": pa.array([2], STAMP), "value": [7]}
    entity_rows = pa.table({"who": ["u"] * 2, "timestamp": pa.array([4, 5], STAMP)})
    assert asof.join(entity_rows, "timestamp", [history(tmp_path, columns, known="known")], only_known=True)["value"].to_pylist() == [
        None,
        7,
    ]


@pytest.mark.parametrize("entity_kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_keys_may_be_dictionaries_and_null(tmp_path: Path, kind: pa.DataType, entity_kind: pa.DataType) -> None:
    who = pa.array(["b", None, "a", "b"]).cast(kind)
    rows = history(tmp_path, {"who": who, "time": pa.array([1, 1, 1, 2], STAMP), "value": [0, 1, 2, 3]}, per_group=2)
    entity_rows = pa.table({"who": pa.array(["a", "b", None, "c"]).cast(entity_kind), "timestamp": pa.array([9] * 4, STAMP)})
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == [2, 3, None, None]


def test_times_may_lie_ages_apart(tmp_path: Path) -> None:
    who, ages = [f"u{place}" for place in range(40)], 6 * 10**17
    rows = history(tmp_path, {"who": who, "time": pa.array([place % 7 * ages for place in range(40)], STAMP), "value": range(40)})
    entity_rows = pa.table({"who": who * 3, "timestamp": pa.array([ages * timestamp for timestamp in (0, 3, 8) for _ in who], STAMP)})
    expected = [place if place % 7 <= timestamp else None for timestamp in (0, 3, 8) for place in range(40)]
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == expected


def test_a_row_that_came_late_hides_nothing_until_it_is_known(tmp_path: Path) -> None:
    columns = {"who": ["u", "u"], "time": pa.array([10, 20], STAMP), "known": pa.array([10, 50], STAMP), "value": [1, 2]}
    rows = history(tmp_path, columns, known="known")
    entity_rows = pa.table({"who": ["u"] * 3, "timestamp": pa.array([20, 49, 50], STAMP)})
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == [1, 1, 2]
    assert asof.join(entity_rows, "timestamp", [rows], only_known=False)["value"].to_pylist() == [2, 2, 2]


VALUES: list[tuple[pa.DataType, Any, Any]] = [
    (pa.bool_(), True, False),
    (pa.int8(), 1, 2),
    (pa.uint64(), 1, 2**63),
    (pa.float16(), np.float16(1), np.float16(2)),
    (pa.float32(), 1.5, 2.5),
    (pa.decimal128(9, 2), Decimal("1.50"), Decimal("2.50")),
    (pa.date32(), date(2026, 1, 1), date(2026, 1, 2)),
    (pa.duration("ms"), timedelta(1), timedelta(2)),
    (STAMP, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    (pa.string(), "a", ""),
    (pa.list_(pa.float32()), [1.5], []),
    (pa.struct({"a": pa.int64()}), {"a": 1}, {"a": None}),
]


@pytest.mark.parametrize(("kind", "first", "last"), VALUES, ids=[str(kind) for kind, *_ in VALUES])
def test_a_feature_may_be_of_any_type(tmp_path: Path, kind: pa.DataType, first: Any, last: Any) -> None:
    columns = {"who": ["a", "b", "c"], "time": pa.array([0, 0, 0], STAMP), "value": pa.array([first, None, last], kind)}
    entity_rows = pa.table({"who": ["c", "nobody", "a", "b"], "timestamp": pa.array([9] * 4, STAMP)})
    found = asof.join(entity_rows, "timestamp", [history(tmp_path, columns, per_group=2)], only_known=True)["value"]
    assert found.type == kind
    assert found.to_pylist() == [last, None, first, None]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.int64()], ids=str)
def test_a_history_without_a_row_knows_nothing(tmp_path: Path, kind: pa.DataType) -> None:
    schema = pa.schema({"who": pa.string(), "time": STAMP, "value": kind})
    with pq.ParquetWriter(tmp_path / "none.parquet", schema):
        pass
    given: dict[str, Any] = {"keys": {"who": "who"}, "features": {"value": "value"}, "time": "time", "known": "", "ttl_us": 0}
    rows = FeatureSource(files=[str(tmp_path / "none.parquet")], filesystem=None, **given)
    entity_rows = pa.table({"who": ["u"], "timestamp": pa.array([0], STAMP)})
    assert asof.join(entity_rows, "timestamp", [rows], only_known=True)["value"].to_pylist() == [None]
    assert len(asof.latest(rows, 0, 1)) == len(between(rows, 0, 1)) == 0


def test_plain_data_are_joined_as_pandas_joins_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count, num_entity_rows = 20_000, 5_000
    columns: dict[str, Any] = {
        "who": rng.integers(0, 300, count),
        "time": pd.to_datetime(rng.permutation(count) * HOUR_US // 7, unit="us", utc=True),
        "value": rng.random(count),
    }
    rows = history(tmp_path, {**columns, "time": pa.array(columns["time"], STAMP)}, per_group=1500)
    timestamps = pd.to_datetime(rng.integers(0, count * HOUR_US // 7, num_entity_rows), unit="us", utc=True)
    entity_rows = pd.DataFrame({"who": rng.integers(0, 320, num_entity_rows), "timestamp": timestamps.astype(columns["time"].dtype)})
    ours = asof.join(pa.Table.from_pandas(entity_rows), "timestamp", [rows], only_known=True)["value"].to_pandas()
    right = pd.DataFrame(columns).sort_values("time")
    theirs = pd.merge_asof(entity_rows.reset_index().sort_values("timestamp"), right, left_on="timestamp", right_on="time", by="who")
    pd.testing.assert_series_equal(ours, theirs.sort_values("index", ignore_index=True)["value"])
    assert 0 < ours.isna().sum() < num_entity_rows


def test_times_of_other_units_are_cut_to_microseconds() -> None:
    assert to_microseconds(pa.chunked_array([pa.array([1_999, None], pa.timestamp("ns"))])).tolist() == [1, NEVER]
    assert to_microseconds(pa.array([2], pa.timestamp("s", tz="Europe/Paris"))).tolist() == [2_000_000]


def test_times_and_keys_of_other_types_are_refused(tmp_path: Path) -> None:
    rows = history(tmp_path, {"who": [1], "time": pa.array([0], STAMP), "value": [7]})
    with pytest.raises(DataError, match="E107 who has the type string"):
        asof.join(pa.table({"who": ["u"], "timestamp": pa.array([0], STAMP)}), "timestamp", [rows], only_known=True)
    with pytest.raises(DataError, match="E107 a time has the type int64"):
        asof.join(pa.table({"who": [1], "timestamp": [0]}), "timestamp", [rows], only_known=True)


def test_a_feature_that_has_the_name_of_a_column_is_refused(tmp_path: Path) -> None:
    rows = history(tmp_path, {"who": ["u"], "time": pa.array([0], STAMP), "value": [7]})
    with pytest.raises(DataError, match=r"E173 \['value'\]"):
        asof.join(pa.table({"who": ["u"], "value": [1], "timestamp": pa.array([0], STAMP)}), "timestamp", [rows], only_known=True)
