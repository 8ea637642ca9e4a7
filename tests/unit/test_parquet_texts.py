"""Texts in Parquet are as long as they are in other files, and are read however they are encoded and grouped."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.ingest import validate
from lodestar.data.readers.parquet import read_parquet
from tests.unit.test_limits import MB
from tests.unit.test_parquet_limits import TEXTS, dropped, write_events


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
    assert dropped(path) == expected
    if kept:
        assert read_parquet(path, ("query_text",)).read()["query_text"][0].as_py().strip() == kept


def test_spaces_around_an_id_are_its_own(tmp_path: Path) -> None:
    users = pa.array([" " * 2 * MB + "u0", *(f"u{user}" for user in range(7))])
    path = write_events(tmp_path / "events.parquet")
    pq.write_table(pq.read_table(path).set_column(0, "user_id", users), path)
    assert dropped(path) == {"E103": 1}


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_are_read_however_they_are_encoded(encoding: str, tmp_path: Path) -> None:
    path, texts = tmp_path / "events.parquet", pa.array(["red", None, "shoes"])
    pq.write_table(pa.table({"query_text": texts}), path, use_dictionary=False, column_encoding={"query_text": encoding})
    assert read_parquet(path, ("query_text",)).read()["query_text"].to_pylist() == texts.to_pylist()


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
