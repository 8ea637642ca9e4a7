"""Times: what is surely a time is read, what lacks but a zone is read in a declared one, and a number that is none is never 1970."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from lodestar.data.contract.cells import times
from lodestar.data.ingest import ingest, validate
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, DataErrors, UsageError

NOON = datetime(2023, 11, 14, 22, 21, 23, tzinfo=UTC)


def data(folder: Path, *written: str) -> str:
    folder.mkdir(exist_ok=True)
    lines = [f'u{number % 7},i1,view,"{time}"' for number, time in enumerate((*written, *[written[0]] * 8))]
    (folder / "events.csv").write_text("\n".join(("user_id,item_id,event_type,event_time", *lines)) + "\n")
    return str(folder / "events.csv")


def first_time(address: str, target: Path) -> datetime:
    ingest(address, target)
    found: datetime = Tables(root=target).events()["event_time"][0].as_py()
    return found


SURE = [
    *("1700000483", "1700000483000", "1700000483000000", "1700000483000000000"),
    *("1700000483.0", "1700000483000.0", "1.700000483e9", "1700000483.000"),
    *("Tue, 14 Nov 2023 22:21:23 +0000", "Tue, 14 Nov 2023 22:21:23 GMT", "Tue Nov 14 22:21:23 +0000 2023", "14/Nov/2023:23:21:23 +0100"),
    *("2023-11-14T22:21:23Z", "2023-11-14 23:21:23+01", " 2023-11-14T22:21:23Z "),
]


@pytest.mark.parametrize("written", SURE)
def test_a_sure_form_is_read(written: str, tmp_path: Path) -> None:
    assert first_time(data(tmp_path / "a", written), tmp_path / "out") == NOON


@pytest.mark.parametrize("written", ["1700000483.25", "1700000483250.0", "1700000483250000123", "1700000483250"])
def test_parts_of_a_second_are_kept_to_the_microsecond(written: str, tmp_path: Path) -> None:
    assert first_time(data(tmp_path / "a", written), tmp_path / "out") == NOON.replace(microsecond=250_000)


BY_ZONE = {
    "2023-11-14 22:21:23": NOON,
    "2023-11-14T22:21": NOON.replace(second=0),
    "2023-11-14": datetime(2023, 11, 14, tzinfo=UTC),
    "20231114": datetime(2023, 11, 14, tzinfo=UTC),
    "202311142221": NOON.replace(second=0),
    "20231114222123": NOON,
    "11/14/2023 10:21:23 PM": NOON,
    "14/11/2023 22:21:23": NOON,
    "14.11.2023": datetime(2023, 11, 14, tzinfo=UTC),
    "2023/11/14 22:21:23": NOON,
    "Tue Nov 14 22:21:23 2023": NOON,
    "Nov 14, 2023": datetime(2023, 11, 14, tzinfo=UTC),
    "2023": datetime(2023, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize("written", BY_ZONE)
def test_a_time_without_an_offset_is_refused_until_its_zone_is_said(written: str, tmp_path: Path) -> None:
    address = data(tmp_path / "a", written)
    with pytest.raises(DataError, match=r"E106 events\.csv, line 2, column event_time") as caught:
        validate(address)
    assert 'time_zone = "UTC"' in caught.value.remedy
    assert "--time-zone UTC" in caught.value.remedy
    assert first_time(f"{address}?zone=UTC", tmp_path / "out") == BY_ZONE[written]


def test_a_zone_is_that_of_the_day(tmp_path: Path) -> None:
    address = data(tmp_path / "a", "2023-07-14 12:00:00", "2023-11-14 12:00:00")
    ingest(f"{address}?zone=Europe/Paris", tmp_path / "out")
    found = Tables(root=tmp_path / "out").events()["event_time"].to_pylist()
    assert {(time.month, time.hour) for time in found} == {(7, 10), (11, 11)}


def test_a_zone_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no time zone 'Mars/Olympus'"):
        validate(f"{data(tmp_path / 'a', '2023-11-14')}?zone=Mars/Olympus")


def test_an_order_of_day_and_month_that_is_not_sure_is_refused(tmp_path: Path) -> None:
    data(tmp_path / "a", "11/12/2023", "03/04/2023")
    for zone in ("", 'time_zone = "UTC"\n'):
        (tmp_path / "a/dataset.toml").write_text(f'{zone}[events]\nfiles = "events.csv"\n')
        with pytest.raises(DataError, match=r"E115 events\.csv, line 2, column event_time, value '11/12/2023'") as caught:
            validate(str(tmp_path / "a"))
        assert 'time_format = "%d/%m/%Y"' in caught.value.remedy


@pytest.mark.parametrize("written", ["0", "1", "12345", "-5", "86400", "31535999", "0.5"])
def test_a_number_that_is_no_time_is_never_1970(written: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E112 events\.csv, line 2, column event_time") as caught:
        validate(data(tmp_path / "a", written))
    assert 'order = "event_time"' in caught.value.remedy


@pytest.mark.parametrize("odd", ["1700000483000", "2023-11-14T22:21:23Z", "1700000483000000000"])
def test_two_units_in_a_column_are_counted(odd: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"E113 events\.csv, line 3, column event_time") as caught:
        validate(data(tmp_path / "a", "1700000483", odd, odd, "1700000484"))
    assert "in 2 rows" in str(caught.value)


def test_times_of_all_years_are_kept(tmp_path: Path) -> None:
    written = ["0001-01-01T00:00:00Z", "1066-10-14T00:00:00Z", "1969-12-31T23:59:59Z", "-1000000000", "2023-11-14T22:21:23Z"]
    address = data(tmp_path / "a", *(one for one in written if one[0] != "-"))
    ingest(address, tmp_path / "out")
    assert {time.year for time in Tables(root=tmp_path / "out").events()["event_time"].to_pylist()} == {1, 1066, 1969, 2023}
    assert first_time(data(tmp_path / "b", written[3]), tmp_path / "other").year == 1938


@pytest.mark.parametrize(("written", "code"), [("0000-01-01T00:00:00Z", "E102"), ("9999-12-31T00:00:00Z", "E105")])
def test_the_filler_of_a_broken_clock_is_refused(written: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=code):
        validate(data(tmp_path / "a", "2023-11-14T22:21:23Z", written))


def test_an_optional_time_is_null_and_counted(tmp_path: Path) -> None:
    data(tmp_path, "2023-11-14T22:21:23Z")
    lines = ["i1,1995,9999-12-31T00:00:00Z", "i2,1995,0000-01-01T00:00:00Z", "i3,1995,soon"]
    (tmp_path / "items.csv").write_text("\n".join(("item_id,created_at,available_to", *lines)) + "\n")
    report = ingest(str(tmp_path), tmp_path / "out")
    items = Tables(root=tmp_path / "out").items().to_pylist()
    assert [row["created_at"] for row in items] == [NOON] * 3
    assert [row["available_to"] and row["available_to"].year for row in items] == [9999, None, None]
    counted = {(one.code, one.column): one.count for one in report.findings if one.table == "items" and one.places}
    assert counted == {("E106", "created_at"): 3, ("E102", "available_to"): 1, ("E107", "available_to"): 1}


def test_nothing_began_in_the_future(tmp_path: Path) -> None:
    data(tmp_path, "2023-11-14T22:21:23Z")
    (tmp_path / "items.csv").write_text("item_id,created_at\ni1,9999-12-31T00:00:00Z\ni2,2001-01-01T00:00:00Z\n")
    report = ingest(str(tmp_path), tmp_path / "out")
    assert [row["created_at"].year for row in Tables(root=tmp_path / "out").items().to_pylist()] == [2023, 2001]
    assert [(one.code, one.count, one.places) for one in report.findings if one.places] == [("E105", 1, ("items.csv, line 2",))]


def test_dates_alone_are_said_to_have_no_order_within_a_day(tmp_path: Path) -> None:
    notes = validate(f"{data(tmp_path / 'a', '2023-11-14', '2023-11-15')}?zone=UTC").tables["events"].notes
    assert notes == ("event_time has dates without a clock: the order within a day is not known",)


def test_the_form_of_a_column_is_that_of_most_values(tmp_path: Path) -> None:
    with pytest.raises(DataErrors) as caught:
        validate(data(tmp_path / "a", "2023-11-14T22:21:23Z", "noon", "1700000483", "2023-11-14"))
    assert [one.code for one in caught.value.findings] == ["E107", "E113", "E106"]


def test_sql_of_every_form_runs_on_any_text() -> None:
    values = [*SURE, *BY_ZONE, "", "x", "9" * 30, "-9223372036854775808", "1e999", "nan", "31/31/2023", "É"]
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'; CREATE TABLE found (text VARCHAR)")
        for value in values:
            database.execute("DELETE FROM found")
            database.execute("INSERT INTO found VALUES (?)", [value])
            form = times.find_form(database, "found", "nullif(text, '')", is_landed=False) or times.ISO
            for zone in ("", "Europe/Paris"):
                sql, faults = times.value_and_faults("text", form, zone)
                database.execute("DELETE FROM found")
                database.executemany("INSERT INTO found VALUES (?)", [[one] for one in values])
                rows = database.execute(f"SELECT {sql}, CASE {' '.join(faults)} END FROM found WHERE text <> ''").fetchall()
                assert all((time_us is None) != (code is None) for time_us, code in rows), (value, zone)
