"""Parquet has the limits that text has: no value, nested or not, and no page fills the memory, however few bytes it takes in the file."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.ingest import validate
from lodestar.data.readers.parquet import encodings, parquet
from lodestar.data.readers.parquet.parquet import read_parquet
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


def unread(path: Path) -> dict[str, int]:
    """Rows that are dropped and cells that are null, by code."""
    report = validate(str(path), quarantine=True)
    rows = {code: count for table in report.tables.values() for code, count in table.dropped.items()}
    return rows | {one.code: one.count for one in report.findings if one.places and one.code != "E116"}


NUMBERS = MB // 4
ITEMS: dict[str, tuple[list[Any], pa.DataType, dict[str, int]]] = {
    "a text at the limit": (["x" * (MB - 1)], TEXTS, {}),
    "a text too long": (["x" * MB], TEXTS, {"E170": 1}),
    "many texts": (["x"] * (MB // 2), TEXTS, {}),
    "a text too many": (["x"] * (MB // 2) + [""], TEXTS, {"E170": 1}),
    "empty texts": ([""] * (MB + 1), TEXTS, {"E170": 1}),
    "nothing": ([None] * (MB + 1), TEXTS, {"E170": 1}),
    "whole numbers": ([1] * (MB + 1), pa.list_(pa.int8()), {"E170": 1}),
    "a large list": (["x" * MB], pa.large_list(pa.string()), {"E170": 1}),
    "a list of a set length": (["x"] * MB, pa.list_(pa.string(), MB), {"E170": 1}),
}


@pytest.mark.parametrize("what", ITEMS)
def test_a_list_is_as_long_as_its_values(what: str, tmp_path: Path) -> None:
    value, kind, expected = ITEMS[what]
    folder = write_items(tmp_path, tags=pa.array([None, value], kind))
    assert unread(folder) == expected
    if expected:
        found = [one for one in validate(str(folder)).findings if one.code == "E170"]
        assert [(one.column, one.count, one.places) for one in found] == [("tags", 1, ("items.parquet, line 2",))]


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
    assert unread(write_events(tmp_path / "events.parquet", attrs=pa.array([value, []] + [None] * 6, PAIRS))) == expected


@pytest.mark.parametrize(("num", "expected"), [(NUMBERS, {}), (NUMBERS + 1, {"E170": 1})])
def test_a_list_of_numbers_counts_four_bytes_each(num: int, expected: dict[str, int], tmp_path: Path) -> None:
    vectors = pa.array([[0.5] * num, None], FLOATS)
    assert unread(write_content(tmp_path, embedding=vectors, dim=pa.array([num, 1]))) == expected


def test_a_struct_is_no_value(tmp_path: Path) -> None:
    structs = pa.array([{"a": "x" * MB}] * 8)
    assert unread(write_events(tmp_path / "events.parquet", attrs=structs)) == {"E107": 8}
    path = write_events(tmp_path / "events.parquet")
    pq.write_table(pq.read_table(path).set_column(0, "user_id", structs), path)
    with pytest.raises(DataError, match=r"E107 events\.parquet, column user_id: struct<a: string> is no type for it"):
        validate(str(path))


@pytest.mark.parametrize(
    ("value", "kept", "expected"),
    [
        ("x" * MB, "x" * MB, {}),
        ("x" * 40 * MB, "", {"E170": 1}),
        ("é" * MB, "", {"E170": 1}),
        ("x" + " " * MB + "x", "", {"E170": 1}),
        (" " * 2 * MB + "x ", "x", {}),
    ],
    ids=["whole", "long", "two bytes each", "spaces within", "spaces around"],
)
def test_a_long_text_is_validated_by_its_beginning(value: str, kept: str, expected: dict[str, int], tmp_path: Path) -> None:
    path = write_events(tmp_path / "events.parquet", query_text=pa.array([value] + ["q"] * 7))
    assert unread(path) == expected
    if kept:
        assert read_parquet(path, ("query_text",)).read()["query_text"][0].as_py().strip() == kept


def test_spaces_around_an_id_are_no_part_of_it(tmp_path: Path) -> None:
    users = pa.array([" " * 2 * MB + "u0", *(f"u{user}" for user in range(7))])
    path = write_events(tmp_path / "events.parquet")
    pq.write_table(pq.read_table(path).set_column(0, "user_id", users), path)
    report = validate(str(path))
    assert [(one.code, one.column, one.count) for one in report.findings if one.places] == [("E116", "user_id", 1)]


def once(num: int) -> pa.Array:
    """A text of 1 MiB that the file holds once, and names so often."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(num, np.int32)), ["x" * MB])


def one_row(num: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, num], pa.int32()), pa.array([""]).take(pa.array(np.zeros(num, np.int32))))


BOMBS: dict[str, tuple[Callable[[], pa.Array], dict[str, Any]]] = {
    "one value": (lambda: pa.array(["\0" * 192 * MB]), {"use_dictionary": False}),
    "one row": (lambda: one_row(24 * MB), {}),
    "each as the one before": (
        lambda: once(160).cast(TEXT),
        {"use_dictionary": False, "column_encoding": {"query_text": "DELTA_BYTE_ARRAY"}},
    ),
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_file_that_unpacks_to_too_much_is_refused_by_a_trial(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, options = BOMBS[what]
    pq.write_table(pa.table({"query_text": make()}), tmp_path / "bomb.parquet", compression="zstd", **options)
    assert (tmp_path / "bomb.parquet").stat().st_size < MB // 8
    monkeypatch.setattr(parquet, "MAX_READING_BYTES", 128 * MB)
    with pytest.raises(DataError, match=r"E176 bomb\.parquet: reading the file takes more than 128 MiB"):
        list(read_parquet(tmp_path / "bomb.parquet", ("query_text",)).batches())


def test_lists_of_a_text_that_the_file_holds_once_take_little_memory(tmp_path: Path) -> None:
    lists = pa.ListArray.from_arrays(pa.array(range(0, 8001, 1000), pa.int32()), once(8000))
    write_events(tmp_path / "events.parquet")
    events = pq.read_table(tmp_path / "events.parquet").append_column("query_text", lists)
    pq.write_table(events, tmp_path / "events.parquet", dictionary_pagesize_limit=8 * MB)
    rows = list(read_parquet(tmp_path / "events.parquet", ("query_text",)).batches())
    assert sum(batch.nbytes for batch in rows) < 64 * MB
    assert min(len(batch["query_text"][0]) for batch in rows) == 1


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_are_read_however_they_are_encoded(encoding: str, tmp_path: Path) -> None:
    path, texts = tmp_path / "events.parquet", pa.array(["red", None, "shoes"])
    pq.write_table(pa.table({"query_text": texts}), path, use_dictionary=False, column_encoding={"query_text": encoding})
    assert read_parquet(path, ("query_text",)).read()["query_text"].to_pylist() == texts.to_pylist()


def test_what_is_large_and_of_short_values_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried, and passes."""
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(1000 * 384, np.float32)), 384)
    pq.write_table(pa.table({"embedding": vectors}), tmp_path / "item_content.parquet", use_dictionary=False)
    monkeypatch.setattr(encodings, "TRUSTED_BYTES", MB)
    assert read_parquet(tmp_path / "item_content.parquet", ("embedding",)).read()["embedding"].to_pylist() == vectors.to_pylist()


def test_a_row_group_without_rows_slows_no_other(tmp_path: Path) -> None:
    rows = pa.table({"query_text": ["red"] * 5})
    with pq.ParquetWriter(tmp_path / "events.parquet", rows.schema) as writer:
        writer.write_table(rows)
        writer.write_table(rows.slice(0, 0))
    assert [len(batch) for batch in read_parquet(tmp_path / "events.parquet", ("query_text",)).batches()] == [5]


def test_lists_with_a_long_text_are_read_over_many_row_groups(tmp_path: Path) -> None:
    tags = pa.array([["a"], ["b" * 5_000]] * 10, TEXTS)
    pq.write_table(pa.table({"item_id": [f"i{row}" for row in range(20)], "tags": tags}), tmp_path / "t.parquet", row_group_size=10)
    assert read_parquet(tmp_path / "t.parquet", {"item_id", "tags"}).read()["tags"].to_pylist() == tags.to_pylist()


def test_a_column_of_json_is_read_as_its_text(tmp_path: Path) -> None:
    """As DuckDB writes one."""
    attrs = pa.ExtensionArray.from_storage(pa.json_(pa.string()), pa.array(['{"a": "1"}'] * 8))
    report = validate(str(write_events(tmp_path / "events.parquet", attrs=attrs))).tables["events"]
    assert (report.rows_in, report.rows_kept) == (8, 8)


def test_a_trial_imports_nothing_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resource", "ctypes", "secrets"):
        (tmp_path / f"{name}.py").write_text('open("planted", "w").close()\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encodings, "TRUSTED_BYTES", 0)
    assert read_parquet(write_events(tmp_path / "e.parquet"), {"user_id"}).read().num_rows == 8
    assert not (tmp_path / "planted").exists()
