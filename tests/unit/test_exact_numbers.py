"""A number that is written down is kept as it is, or not at all: what a float cannot tell from its neighbours is read as none of them.

An id is refused, what a row does not need is null and counted.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.ingest import ingest, validate
from lodestar.errors import DataError

TIMESTAMP = "2026-01-01T00:00:00Z"
COLUMNS = ("user_id", "item_id", "event_type", "event_time")
# What a JSON line says where `9007199254740993.0` is a number, and where it is a text.
REFUSED = "9007199254740993.0"


def lines(tmp_path: Path, column: str, written: str) -> Path:
    path = tmp_path / "events.jsonl"
    rows = [dict(zip(COLUMNS, (f"u{user}", "i1", "view", TIMESTAMP), strict=True)) for user in range(8)]
    first = ",".join(
        f"{json.dumps(name)}: {written if name == column else json.dumps(value)}" for name, value in {column: 0, **rows[0]}.items()
    )
    path.write_text("\n".join(["{" + first + "}", *map(json.dumps, rows[1:])]))
    return path


def csv(tmp_path: Path, column: str, written: str) -> Path:
    path = tmp_path / "events.csv"
    names = dict.fromkeys((*COLUMNS, column))
    rows = [
        {**dict(zip(COLUMNS, (f"u{user}", "i1", "view", TIMESTAMP), strict=True)), **({column: written} if not user else {})}
        for user in range(8)
    ]
    path.write_text(
        "\n".join([",".join(names), *(",".join('"' + row.get(name, "").replace('"', '""') + '"' for name in names) for row in rows)])
    )
    return path


def first_value(path: Path, column: str, tmp_path: Path) -> Any:
    ingest(str(path), tmp_path / "tables")
    (part,) = (tmp_path / "tables" / "events").rglob("*.parquet")
    return pq.read_table(part)[column][0].as_py()


def nulled(path: Path, column: str, tmp_path: Path, table: str = "events") -> tuple[str, Any]:
    """Code of the finding on a column, and the first value of it; only that cell is null."""
    found = [one for one in ingest(str(path), tmp_path / "tables").findings if one.column == column and one.places]
    assert [one.count for one in found] == [1]
    (part,) = (tmp_path / "tables" / table).rglob("*.parquet")
    return found[0].code, pq.read_table(part)[column][0].as_py()


@pytest.mark.parametrize("written", [REFUSED, "1e16"])
def test_an_id_of_json_that_may_be_another_is_refused(written: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E107 events\.jsonl, line 1, column user_id"):
        validate(str(lines(tmp_path, "user_id", written)))


@pytest.mark.parametrize(
    ("column", "written", "code"),
    [
        ("query_text", REFUSED, "E107"),
        ("query_text", "-4503599627370496.5", "E107"),
        ("position", REFUSED, "E107"),
        ("value", REFUSED, "E102"),
        ("value", "9007199254740993", "E102"),
        ("value", '"9007199254740993"', "E102"),
        ("attrs", f'{{"a": {REFUSED}}}', "E107"),
        ("attrs", json.dumps(f'{{"a": {REFUSED}}}'), "E107"),
    ],
)
def test_a_number_of_json_that_may_be_another_is_null(column: str, written: str, code: str, tmp_path: Path) -> None:
    assert nulled(lines(tmp_path, column, written), column, tmp_path) == (code, None)


@pytest.mark.parametrize(
    ("column", "written", "kept"),
    [
        ("user_id", '"9007199254740993.0"', REFUSED),
        ("user_id", "9007199254740993", "9007199254740993"),
        ("user_id", "18446744073709551617", "18446744073709551617"),
        ("user_id", "4503599627370495.5", "4503599627370495.5"),
        ("position", "9007199254740993", 9007199254740993),
        ("position", '"9007199254740993.0"', 9007199254740993),
        ("value", "4503599627370495.5", 4503599627370495.5),
        ("attrs", '{"a": 9007199254740993}', [("a", "9007199254740993")]),
    ],
)
def test_a_number_of_json_that_is_kept_is_what_was_written(column: str, written: str, kept: Any, tmp_path: Path) -> None:
    assert first_value(lines(tmp_path, column, written), column, tmp_path) == kept


@pytest.mark.parametrize(
    ("column", "written", "code"), [("value", REFUSED, "E102"), ("value", "1e16", "E102"), ("attrs", f'{{"a": {REFUSED}}}', "E107")]
)
def test_a_number_of_csv_that_may_be_another_is_null(column: str, written: str, code: str, tmp_path: Path) -> None:
    assert nulled(csv(tmp_path, column, written), column, tmp_path) == (code, None)


@pytest.mark.parametrize(("column", "kept"), [("user_id", REFUSED), ("query_text", REFUSED), ("position", 9007199254740993)])
def test_a_number_of_csv_that_is_kept_is_what_was_written(column: str, kept: Any, tmp_path: Path) -> None:
    assert first_value(csv(tmp_path, column, REFUSED), column, tmp_path) == kept


@pytest.mark.parametrize(
    ("column", "values", "code"),
    [
        ("user_id", pa.array([2.0**53, *map(float, range(7))]), "E107"),
        ("value", pa.array([2**53 + 1, *range(7)]), "E102"),
        ("value", pa.array([2.0**53, *map(float, range(7))]), "E102"),
    ],
)
def test_a_number_of_parquet_that_may_be_another_is_not_kept(column: str, values: pa.Array, code: str, tmp_path: Path) -> None:
    events = {"user_id": [f"u{user}" for user in range(8)], "item_id": ["i1"] * 8, "event_type": ["view"] * 8}
    times = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 8, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({**events, "event_time": times, column: values}), tmp_path / "events.parquet")
    if column == "value":
        assert nulled(tmp_path / "events.parquet", column, tmp_path) == (code, None)
        return
    with pytest.raises(DataError, match=rf"{code} events\.parquet, line 1, column {column}"):
        validate(str(tmp_path / "events.parquet"))


def test_a_list_of_json_is_null_for_a_number_that_may_be_another(tmp_path: Path) -> None:
    csv(tmp_path, "value", "1")
    item = {"item_id": "i1", "item_type": "product", "title": "t", "created_at": TIMESTAMP, "updated_at": TIMESTAMP, "is_active": True}
    (tmp_path / "items.jsonl").write_text(json.dumps({**item, "tags": [2.0**53]}))
    assert nulled(tmp_path, "tags", tmp_path, "items") == ("E107", None)


def test_the_remedy_for_an_id_is_to_write_it_as_a_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Write it as a text, in quotes") as caught:
        validate(str(lines(tmp_path, "user_id", REFUSED)))
    assert "the value is no id" in str(caught.value)
    assert first_value(lines(tmp_path, "user_id", f'"{REFUSED}"'), "user_id", tmp_path) == REFUSED
