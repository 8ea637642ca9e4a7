"""Parquet has the limits that text has: a map or a vector is as long as its values, however few bytes they take in the file."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.ingest import validate
from lodestar.errors import DataError
from tests.unit.test_limits import MB

TEXT, TEXTS, PAIRS = pa.string(), pa.list_(pa.string()), pa.map_(pa.string(), pa.string())
FLOATS = pa.list_(pa.float32())
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def write_events(path: Path, num: int = 8, **columns: Any) -> Path:
    events = {"user_id": [f"u{user}" for user in range(num)], "item_id": ["i1"] * num, "event_type": ["view"] * num}
    pq.write_table(pa.table({**events, "event_time": pa.array([NOW] * num, pa.timestamp("us", "UTC")), **columns}), path)
    return path


def write_items(folder: Path, **columns: Any) -> Path:
    write_events(folder / "events.parquet")
    items = {"item_id": ["i1", "i2"], "item_type": ["product"] * 2, "title": ["t"] * 2, "is_active": [True] * 2}
    times = pa.array([NOW] * 2, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({**items, "created_at": times, "updated_at": times, **columns}), folder / "items.parquet")
    return folder


def write_content(folder: Path, **columns: Any) -> Path:
    write_items(folder)
    content = {name: ["text", "text"] for name in ("kind", "encoder", "encoder_version", "content_hash")}
    pq.write_table(pa.table({"item_id": ["i1", "i2"], **content, **columns}), folder / "item_content.parquet")
    return folder


def dropped(path: Path) -> dict[str, int]:
    return {code: count for table in validate(str(path), quarantine=True).tables.values() for code, count in table.dropped.items()}


NUMBERS = MB // 4
PAIR: dict[str, tuple[list[tuple[str, str | None]], dict[str, int]]] = {
    "at the limit": ([("a", "x" * (MB - 3))], {}),
    "a value too long": ([("a", "x" * (MB - 2))], {"E170": 1}),
    "a key too long": ([("x" * MB, None)], {"E170": 1}),
    "many": ([(f"{number:07}", "") for number in range(MB // 9 + 1)], {"E170": 1}),
    "a key twice": ([("a", "1"), ("a", "2")], {"E173": 1}),
    "no value": ([("a", None)], {}),
}


@pytest.mark.parametrize("what", PAIR)
def test_a_map_is_as_long_as_its_pairs_and_names_a_key_once(what: str, tmp_path: Path) -> None:
    value, expected = PAIR[what]
    assert dropped(write_events(tmp_path / "events.parquet", attrs=pa.array([value, []] + [None] * 6, PAIRS))) == expected


@pytest.mark.parametrize(("num", "expected"), [(NUMBERS, {}), (NUMBERS + 1, {"E170": 1})])
def test_a_list_of_numbers_counts_four_bytes_each(num: int, expected: dict[str, int], tmp_path: Path) -> None:
    vectors = pa.array([[0.5] * num, None], FLOATS)
    assert dropped(write_content(tmp_path, embedding=vectors, dim=pa.array([num, 1]))) == expected


def test_a_struct_is_no_value(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E107 events\.parquet, column attrs: struct<a: string> is no type for it"):
        validate(str(write_events(tmp_path / "events.parquet", attrs=pa.array([{"a": "x" * MB}] * 8))))
