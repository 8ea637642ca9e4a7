"""Awkward cells of people's files are read as expected: ids, times, ratings and logs of one kind, where the shared files are there."""

from pathlib import Path

import pytest

from cli.main import main
from lodestar.data.contract.report import Report
from lodestar.data.ingest import ingest, validate
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, DataErrors

AWKWARD = Path(__file__).parents[2].parent / "shared" / "data" / "awkward"
pytestmark = pytest.mark.skipif(not AWKWARD.is_dir(), reason="the shared files are not here")


def codes(report: Report) -> dict[tuple[str, str], int]:
    """Number of cells or rows of each finding, by code and column."""
    return {(one.code, one.column): one.count for one in report.findings}


READ = {
    "id02_float.csv": (96, {("E116", "user_id"): 96, ("E116", "item_id"): 96}),
    "id03_float_events_int_items": (96, {("E116", "user_id"): 96, ("E116", "item_id"): 96}),
    "id08_spaces_around.csv": (96, {("E116", "user_id"): 96, ("E116", "item_id"): 96}),
    "p18_float_big_ids.parquet": (96, {("E116", "user_id"): 96, ("E116", "item_id"): 96}),
    "t04_ns.csv": (96, {}),
    "t05_float_sec.csv": (96, {}),
    "t16_rfc2822.csv": (96, {}),
    "t23_before1970.csv": (98, {}),
    "t28_same_second.csv": (96, {("E118", "event_time"): 96}),
    "i10_empty_title": (96, {("E125", "title"): 1}),
    "i21_created_year": (96, {("E106", "created_at"): 15, ("E125", "created_at"): 15}),
    "i23_released_1937": (96, {}),
    "m04_sessions.csv": (5, {}),
    "e02_reconsumption.csv": (120, {("E111", "value"): 120, ("E111", "currency"): 120}),
    "e03_one_event_each.csv": (100, {("E127", "user_id"): 100}),
    "e07_all_search.csv": (96, {}),
    "e08_all_hide.csv": (96, {}),
    "e11_session_and_user.csv": (96, {}),
    "r02_half.csv": (96, {}),
    "s01_flop.csv": (410, {}),
    "s03_hidden.csv": (420, {}),
    "s05_comma_item.csv": (96, {}),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_with_what_was_found_in_it(name: str, tmp_path: Path) -> None:
    num_rows, found = READ[name]
    report = ingest(str(AWKWARD / name), tmp_path / "out")
    events = report.tables["events"]
    assert (events.rows_in, events.rows_kept, events.dropped) == (num_rows, num_rows, {})
    assert codes(report) == found


def test_ids_are_one_in_all_files(tmp_path: Path) -> None:
    for name in ("id02_float.csv", "id08_spaces_around.csv", "id03_float_events_int_items"):
        ingest(str(AWKWARD / name), tmp_path / name)
        tables = Tables(root=tmp_path / name)
        assert sorted(map(int, tables.users()["user_id"].to_pylist())) == list(range(12)), name
        assert sorted(map(int, tables.items()["item_id"].to_pylist())) == list(range(15)), name
    ingest(str(AWKWARD / "p18_float_big_ids.parquet"), tmp_path / "big")
    assert "1234567890125" in Tables(root=tmp_path / "big").items()["item_id"].to_pylist()


REFUSED = {
    "t11_naive.csv": ("E106", "event_time", 'time_zone = "UTC"'),
    "t12_date.csv": ("E106", "event_time", 'time_zone = "UTC"'),
    "p01_ns_naive.parquet": ("E106", "event_time", 'time_zone = "UTC"'),
    "t17_us_slash.csv": ("E106", "event_time", 'time_zone = "UTC"'),
    "t26_yyyymmdd.csv": ("E106", "event_time", 'time_zone = "UTC"'),
    "t25_small_int.csv": ("E112", "event_time", 'order = "event_time"'),
    "r01_0_10.csv": ("E102", "rating", "rating_scale = [0, 10]"),
    "e12_uppercase_types.csv": ("E110", "event_type", 'event_types.VIEW = "view"'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_guess_is_refused_with_the_line_that_decides_it(name: str) -> None:
    code, column, line = REFUSED[name]
    with pytest.raises(DataError) as caught:
        validate(str(AWKWARD / name))
    place = caught.value.place
    assert (caught.value.code, place and place.column, line in caught.value.remedy) == (code, column, True)


@pytest.mark.parametrize("name", [name for name, (code, *_) in REFUSED.items() if code == "E106"])
def test_the_zone_is_typed_as_the_remedy_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "validate", "--data", str(AWKWARD / name), "--time-zone", "UTC"]) == 0
    assert "| events | 96 | 96 | 0 | 0 |" in capsys.readouterr().out


def test_each_text_that_stands_for_no_id_is_counted() -> None:
    with pytest.raises(DataError, match=r"E103 id12_none_na\.csv, line 98, column user_id, value 'none'") as caught:
        validate(str(AWKWARD / "id12_none_na.csv"))
    for text in ("none", "NA", "N/A", "nil", "undefined", "(not set)"):
        assert f"{text!r} (1)" in str(caught.value)
    report = validate(str(AWKWARD / "id12_none_na.csv"), quarantine=True)
    assert report.tables["events"].dropped == {"E103": 7}
    assert codes(report) == {("E126", "user_id"): 1}


def test_rows_without_a_rating_are_counted() -> None:
    events = validate(str(AWKWARD / "r05_empty_rating.csv")).tables["events"]
    assert events.rows_in == events.rows_kept + events.dropped["E123"]


def test_repeats_are_counted() -> None:
    assert validate(str(AWKWARD / "e02_reconsumption.csv")).tables["events"].repeats == 84


def test_all_missing_columns_are_named_at_once() -> None:
    with pytest.raises(DataErrors) as caught:
        validate(str(AWKWARD / "u01_users_id"))
    text = str(caught.value)
    assert 'events.user_id = "customer_id"' in text
    assert 'users.user_id = "id"' in text


@pytest.mark.parametrize("name", ["m04_sessions.csv", "e11_session_and_user.csv", "e07_all_search.csv"])
def test_a_log_without_users_or_items_has_a_profile(name: str, tmp_path: Path) -> None:
    assert main(["data", "profile", "--data", str(AWKWARD / name), "--output", str(tmp_path / "p.html")]) == 0
