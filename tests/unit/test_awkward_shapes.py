"""Awkward files of people are described: at most three lines to edit, and then all rows; where the shared files are there."""

from pathlib import Path
from typing import NamedTuple

import pytest

from lodestar.data.address import Address
from lodestar.data.describe.describe_path import describe_path
from lodestar.data.ingest import validate
from lodestar.errors import DataError
from tests.describing import candidates, decided, declare, ingested

AWKWARD = Path(__file__).parents[2].parent / "shared" / "data" / "awkward"
pytestmark = pytest.mark.skipif(not AWKWARD.is_dir(), reason="the shared files are not here")


class Expected(NamedTuple):
    """What is to decide of a file, the events that are kept once it is decided, and rows of users and of items that its files give."""

    decisions: tuple[str, ...] = ()
    events: int = 96
    users: int = 0
    items: int = 0


COLUMNS = 'columns = ["user_id", "item_id", "event_type", "event_time"]'
ZONE = 'time_zone = "UTC"'
EXPECTED = {
    "f06_dcolon.csv": Expected(),
    "f09_noheader.csv": Expected((COLUMNS,)),
    "f10_noheader.tsv": Expected(('columns = ["user_id", "item_id", "rating", "event_time"]',)),
    "f19_utf16.csv": Expected(),
    "f23_array.jsonl": Expected(),
    "f24_pretty.jsonl": Expected(),
    "f30_really_gz.csv": Expected(),
    "f51_one_stray_quote_late.tsv": Expected(events=480),
    "m03_quote.tsv": Expected(events=24),
    "g01_spark_dir_named_parquet": Expected(),
    "m04_sessions.csv": Expected(events=5),
    "e02_reconsumption.csv": Expected(events=120),
    "e03_one_event_each.csv": Expected(events=100),
    "e07_all_search.csv": Expected(),
    "e08_all_hide.csv": Expected(),
    "e11_session_and_user.csv": Expected(),
    "e12_uppercase_types.csv": Expected(('event_types = { VIEW = "view" }',)),
    "e16_three_columns.csv": Expected(('event_type = "view"',)),
    "u01_users_id": Expected(('users.user_id = "id"', 'events.user_id = "customer_id"'), users=12),
    "i10_empty_title": Expected(items=15),
    "i18_name_not_title": Expected(items=15),
    "i21_created_year": Expected(items=15),
    "i23_released_1937": Expected(items=15),
    "id02_float.csv": Expected(),
    "id03_float_events_int_items": Expected(items=15),
    "id08_spaces_around.csv": Expected(),
    "p18_float_big_ids.parquet": Expected(),
    "p01_ns_naive.parquet": Expected((ZONE,)),
    "s01_flop.csv": Expected(events=410),
    "s03_hidden.csv": Expected(events=420),
    "s05_comma_item.csv": Expected(),
    "r01_0_10.csv": Expected(("rating_scale = [0, 10]",)),
    "r02_half.csv": Expected(),
    "r05_empty_rating.csv": Expected(events=95),
    "t04_ns.csv": Expected(),
    "t05_float_sec.csv": Expected(),
    "t11_naive.csv": Expected((ZONE,)),
    "t12_date.csv": Expected((ZONE,)),
    "t16_rfc2822.csv": Expected(),
    "t17_us_slash.csv": Expected((ZONE,)),
    "t23_before1970.csv": Expected(events=98),
    "t25_small_int.csv": Expected(('order = "event_time"',)),
    "t26_yyyymmdd.csv": Expected((ZONE,)),
    "t28_same_second.csv": Expected(),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_described_file_is_read_whole_once_at_most_three_lines_are_edited(name: str, tmp_path: Path) -> None:
    expected = EXPECTED[name]
    found = describe_path(Address(path=str(AWKWARD / name)), tmp_path)
    text, edits = decided(found.text)
    assert tuple(candidates(found.text)) == expected.decisions
    assert edits == len(expected.decisions) <= 3
    report = validate(declare(tmp_path, text))
    kept = {name: report.tables[name].rows_kept for name in ("events", "users", "items")}
    assert kept == {"events": expected.events, "users": expected.users, "items": expected.items}
    assert report.order_only == ("order" in " ".join(expected.decisions))


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if not expected.decisions])
def test_what_is_sure_is_read_plainly(name: str) -> None:
    assert validate(str(AWKWARD / name)).tables["events"].rows_kept == EXPECTED[name].events


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected.decisions])
def test_a_guess_is_refused_with_all_lines_that_decide_it(name: str) -> None:
    with pytest.raises(DataError) as caught:
        validate(str(AWKWARD / name))
    said = str(caught.value)
    lines = [line.replace('event_types = { VIEW = "view" }', 'event_types.VIEW = "view"') for line in EXPECTED[name].decisions]
    assert [line for line in lines if f"\n  {line}" not in said] == []
    assert f"lodestar data describe {AWKWARD / name} > dataset.toml" in said


def test_a_name_a_category_and_a_brand_are_said_to_be_a_title_a_path_and_an_attribute() -> None:
    notes = validate(str(AWKWARD / "i18_name_not_title")).notes
    for line in ('items.title = "name"', 'items.category_path = "category"', 'items.attrs = { names = { brand = "brand" } }'):
        assert any(note.startswith(f"found: {line}") for note in notes)
    items = ingested(AWKWARD / "i18_name_not_title", "items")
    assert (items[0]["title"], items[0]["category_path"], items[0]["attrs"]) == ("Lamp 0", ["Home"], [("brand", "Lux")])


def test_given_times_are_used_where_a_folder_has_plain_interactions() -> None:
    first = {}
    for row in sorted(ingested(AWKWARD / "m01"), key=lambda row: row["event_time"]):
        first.setdefault(row["user_id"], row["item_id"])
        assert row["event_type"] == "view"
    assert set(first.values()) == {"early"}


def test_texts_that_stand_for_no_id_are_refused_described_or_not(tmp_path: Path) -> None:
    found = describe_path(Address(path=str(AWKWARD / "id12_none_na.csv")), tmp_path)
    assert found.num_decisions == 0
    with pytest.raises(DataError, match="E103"):
        validate(declare(tmp_path, found.text))
