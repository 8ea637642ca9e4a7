"""Every row error is named with its code, file, line, column, value and remedy; good rows become typed columns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.data.contract.checks import IDENTICAL, CheckedTable, check
from lodestar.data.contract.defaults import checked_name
from lodestar.data.readers.readers import read
from lodestar.errors import DataError

NOW_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HEADER = "user_id,item_id,event_type,event_time"
GOOD = "u1,i1,view,2025-06-01T12:00:00Z"


def validated(path: Path, table: schema.Table = schema.EVENTS, *, quarantine: bool = False) -> tuple[CheckedTable, list[dict[str, Any]]]:
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        found = check(database, table, [read(path, table.names)], now_us=NOW_US, quarantine=quarantine)
        bad = tuple(found.bad())
        found = replace(found, bad=lambda: bad)
        rows = database.execute(f"SELECT * EXCLUDE (row, error) FROM {checked_name(found.table)} ORDER BY row").to_arrow_table().to_pylist()
    return found, rows


def written(folder: Path, *lines: str, name: str = "events.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def refused(path: Path, table: schema.Table = schema.EVENTS) -> DataError:
    with pytest.raises(DataError) as caught:
        validated(path, table)
    return caught.value


BAD_ROWS = {
    "u2,,view,2025-06-01T12:00:00Z": ("E103", schema.ITEM_ID, ""),
    "nan,i1,view,2025-06-01T12:00:00Z": ("E103", schema.USER_ID, "nan"),
    f"{'é' * 65},i1,view,2025-06-01T12:00:00Z": ("E103", schema.USER_ID, "é" * 65),
    "u2,i1,view,2026-01-01T00:05:01Z": ("E105", schema.EVENT_TIME, "2026-01-01T00:05:01Z"),
    "u2,i1,view,2025-06-01 12:00:00": ("E106", schema.EVENT_TIME, "2025-06-01 12:00:00"),
    "u2,i1,view,2025-06-01": ("E106", schema.EVENT_TIME, "2025-06-01"),
    "u2,i1,view,2025-02-30T12:00:00Z": ("E107", schema.EVENT_TIME, "2025-02-30T12:00:00Z"),
    "u2,i1,view,yesterday": ("E107", schema.EVENT_TIME, "yesterday"),
    "u2,i1,view,": ("E107", schema.EVENT_TIME, ""),
    "u2,i1,clik,2025-06-01T12:00:00Z": ("E110", schema.EVENT_TYPE, "clik"),
}


@pytest.mark.parametrize("row", BAD_ROWS)
def test_a_bad_value_is_named_with_its_place(row: str, tmp_path: Path) -> None:
    error = refused(written(tmp_path, HEADER, GOOD, "", row))
    code, column, value = BAD_ROWS[row]
    assert error.place is not None
    assert (error.code, error.place.line, error.place.column, error.place.value) == (code, 4, column, value)
    assert error.remedy


def test_an_unknown_type_suggests_the_nearest(tmp_path: Path) -> None:
    assert "did you mean 'click'?" in str(refused(written(tmp_path, HEADER, "u1,i1,Clicks,2025-06-01T12:00:00Z")))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("user_id,item_id,event_type,ts", "--map event_time=ts"),
        ("user_id,item_id,event_typ,event_time", "--map event_type=event_typ"),
        ("User ID,item_id,event_type,event_time", "--map 'user_id=User ID'"),
        ("user_id,foo,event_type,event_time", "--map item_id=THEIRS"),
    ],
)
def test_a_missing_column_suggests_what_to_map(header: str, said: str, tmp_path: Path) -> None:
    error = refused(written(tmp_path, header, GOOD))
    assert error.code == "E101"
    assert said in error.remedy


def test_a_missing_column_names_all_columns_of_the_file(tmp_path: Path) -> None:
    error = refused(written(tmp_path, "item_id,event_type,event_time,query_text", "i1,view,2025-06-01T12:00:00Z,lamp"))
    assert "the column user_id is missing; the file has item_id, event_type, event_time, query_text" in str(error)


@pytest.mark.parametrize(("rating", "code"), [("7", "E102"), ("0.4", "E102"), ("1e999", "E102"), ("five", "E107")])
def test_a_rating_is_a_number_on_the_scale(rating: str, code: str, tmp_path: Path) -> None:
    error = refused(written(tmp_path, f"{HEADER},rating", f"{GOOD},", f"u1,i1,rating,2025-06-01T12:00:00Z,{rating}"))
    assert (error.code, error.place and error.place.line) == (code, 3)


def test_half_stars_are_on_the_scale(tmp_path: Path) -> None:
    _, rows = validated(written(tmp_path, "user_id,item_id,rating,event_time", "u1,i1,0.5,2025-06-01T12:00:00Z"))
    assert rows[0][schema.RATING] == 0.5


def test_times_are_utc_microseconds_whatever_their_offset(tmp_path: Path) -> None:
    times = ["2025-06-01T12:00:00Z", "2025-06-01 14:00:00+02", "2025-06-01T06:30:00.000001-0530", "2025-06-01 12:00:00 UTC"]
    _, rows = validated(written(tmp_path, HEADER, *(f"u1,i1,view,{time}" for time in times)))
    noon = 1_748_779_200_000_000
    assert [row[schema.EVENT_TIME] for row in rows] == [noon, noon, noon + 1, noon]


@pytest.mark.parametrize("number", ["1748779200", "1748779200000", "1748779200000000"])
def test_integers_count_from_1970_in_the_unit_that_they_show(number: str, tmp_path: Path) -> None:
    found, rows = validated(written(tmp_path, HEADER, f"u1,i1,view,{number}"))
    assert rows[0][schema.EVENT_TIME] == 1_748_779_200_000_000
    assert "since 1970" in found.notes[0]


@pytest.mark.parametrize("odd", ["1748779200000", "2025-06-01T12:00:00Z", "2025-06-01"])
def test_a_column_counts_in_one_unit(odd: str, tmp_path: Path) -> None:
    rows = [f"u1,i1,view,{number}" for number in ("1748779200", "1748779201", odd)]
    assert refused(written(tmp_path, HEADER, *rows)).code == "E113"


@pytest.mark.parametrize(("zone", "code"), [(None, "E106"), ("Europe/Paris", None)])
def test_typed_times_need_a_zone_too(zone: str | None, code: str | None, tmp_path: Path) -> None:
    times = pa.array([1_748_779_200_000], pa.timestamp("ms", tz=zone))
    pq.write_table(pa.table({"user_id": [7], "item_id": ["i"], "event_type": ["view"], "event_time": times}), tmp_path / "e.parquet")
    if code:
        assert refused(tmp_path / "e.parquet").code == code
    else:
        row = validated(tmp_path / "e.parquet")[1][0]
        assert (row[schema.USER_ID], row[schema.EVENT_TIME]) == ("7", 1_748_779_200_000_000)


def test_an_event_may_be_as_late_as_its_ingestion_and_five_minutes(tmp_path: Path) -> None:
    known = "2025-06-01T12:00:00Z"
    rows = [f"u1,i1,view,2025-06-01T12:05:0{second}Z,{known}" for second in (0, 1)]
    error = refused(written(tmp_path, f"{HEADER},ingested_at", *rows))
    assert (error.code, error.place and error.place.line) == ("E105", 3)


def test_a_repeated_key_is_dropped_when_equal_and_refused_when_not(tmp_path: Path) -> None:
    head, first, same = f"event_id,{HEADER}", f"e1,{GOOD}", f"e1,{GOOD}"
    found, rows = validated(written(tmp_path, head, first, same))
    assert (found.dropped, len(rows)) == ({IDENTICAL: 1}, 1)
    error = refused(written(tmp_path, head, first, same, f"e1,{GOOD.replace('view', 'like')}"))
    assert (error.code, error.place and (error.place.line, error.place.value)) == ("E120", (4, "e1"))


def test_the_first_row_error_of_the_file_is_raised_whatever_its_kind(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER, GOOD, "u1,i1", "u1,i1,view,never", "u1,,view,never")
    place = refused(path).place
    assert place is not None
    assert place.line == 3


def test_quarantine_keeps_good_rows_and_counts_the_others(tmp_path: Path) -> None:
    found, rows = validated(written(tmp_path, HEADER, "u1,i1", "u1,i1,view,never", GOOD, ",i1,view,never"), quarantine=True)
    assert [row[schema.USER_ID] for row in rows] == ["u1"]
    assert (found.rows_in, found.dropped) == (4, {"E103": 1, "E107": 1, "E109": 1})
    assert [(error.code, error.place and error.place.line) for error in found.bad()] == [("E109", 2), ("E107", 3), ("E103", 5)]


def test_items_are_typed_by_column(tmp_path: Path) -> None:
    lines = ["item_id,price,stock,is_active,tags,category_path,language", 'i1,4.50,3.0,Yes,a|b,"[""c d"", ""e""]", en ', "i2,nan,,0,,,"]
    _, rows = validated(written(tmp_path, *lines), schema.ITEMS)
    assert rows[0] == {
        "item_id": "i1",
        "price": 4.5,
        "stock": 3,
        "is_active": True,
        "tags": ["a", "b"],
        "category_path": ["c d", "e"],
        "language": "en",
    }
    assert rows[1] == {"item_id": "i2", "is_active": False} | dict.fromkeys(("price", "stock", "tags", "category_path", "language"))


@pytest.mark.parametrize(("column", "value"), [("is_active", "maybe"), ("is_active", "no longer")])
def test_what_is_offered_is_not_guessed(column: str, value: str, tmp_path: Path) -> None:
    assert refused(written(tmp_path, f"item_id,{column}", f"i1,{value}"), schema.ITEMS).code == "E107"


def test_content_has_a_known_kind_and_finite_numbers(tmp_path: Path) -> None:
    head = "item_id,kind,encoder,encoder_version,embedding"
    assert refused(written(tmp_path, head, "i1,smell,e,1,"), schema.ITEM_CONTENT).code == "E102"
    lines = ['i1,text,e,1,"[0.5, -1]"', 'i2,text,e,1,"[0.5, ""x""]"', "i3,text,e,1,0.5"]
    found, rows = validated(written(tmp_path, head, *lines), schema.ITEM_CONTENT)
    assert [row[schema.EMBEDDING] for row in rows] == [[0.5, -1.0], None, None]
    assert [(one.code, one.count) for one in found.findings] == [("E102", 1), ("E107", 1)]


def test_a_row_with_two_row_errors_counts_once(tmp_path: Path) -> None:
    rows = ['i1,text,e,1,"[1, 2]"', 'i2,text,e,1,"[1, 2]"', 'i2,text,e,1,"[1]"']
    path = written(tmp_path, "item_id,kind,encoder,encoder_version,embedding", *rows)
    found, kept = validated(path, schema.ITEM_CONTENT, quarantine=True)
    assert (found.rows_in, found.dropped, len(kept)) == (3, {"E120": 1}, 2)
