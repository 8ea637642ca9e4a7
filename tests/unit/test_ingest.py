"""A file, a folder or an address becomes the contract's tables, every row and every derived column accounted for."""

import csv
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestar import schema
from lodestar.data.address import Address, parse_address
from lodestar.data.contract.checks import IDENTICAL
from lodestar.data.ingest import ingest
from lodestar.data.tables import manifest, tables
from lodestar.errors import DataError, UsageError
from lodestar.io import storage

COLUMNS = ("user_id", "item_id", "event_type", "event_time")
Row = dict[str, str]


def visits(users: int = 5) -> list[Row]:
    """Each user sees a, then b, a minute apart."""
    seen = [(f"u{user}", item, f"2025-01-01T0{user}:0{minute}:00Z") for user in range(users) for minute, item in enumerate("ab")]
    return [dict(zip(COLUMNS, (user, item, "view", time), strict=True)) for user, item, time in seen]


def save(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def hour(number: int) -> datetime:
    return datetime(2025, 1, 1, number, tzinfo=UTC)


def ingested(data: Path | str, target: Path, **options: Any) -> tables.Tables:
    ingest(str(data), target, **options)
    return tables.Tables(root=target)


def test_four_columns_are_enough(tmp_path: Path) -> None:
    found = ingested(save(tmp_path / "events.csv", visits()), tmp_path / "out")
    events, items, users = found.events().to_pylist(), found.items().to_pylist(), found.users().to_pylist()
    assert [(event["user_id"], event["item_id"]) for event in events[:3]] == [("u0", "a"), ("u0", "b"), ("u1", "a")]
    assert all(event["ingested_at"] == event["event_time"] for event in events)
    assert len({event["event_id"] for event in events}) == 10
    assert [(item["item_id"], item["title"], item["item_type"], item["is_active"]) for item in items] == [
        ("a", "a", "product", True),
        ("b", "b", "product", True),
    ]
    assert [user["created_at"] for user in users] == [hour(number) for number in range(5)]
    assert all(user["consent_personalise"] and user["ingested_at"] == user["created_at"] for user in users)
    assert len(found.impressions()) == 0


def test_the_report_names_all_that_was_derived_and_left_out(tmp_path: Path) -> None:
    data = save(tmp_path / "events.csv", [row | {"colour": "red"} for row in visits()])
    report = ingest(str(data), tmp_path / "out")
    events, users = report.tables["events"], report.tables["users"]
    assert (events.rows_in, events.rows_kept, users.added) == (10, 10, 5)
    assert set(events.derived) == {"event_id", "ingested_at"}
    assert set(users.derived) == {"created_at", "updated_at", "ingested_at", "consent_personalise"}
    text = report.markdown()
    assert "colour" in text
    assert "| events | 10 | 10 | 0 | 0 |" in text
    assert json.loads((tmp_path / "out" / tables.REPORT).read_text())["tables"]["events"]["rows_kept"] == 10


def test_ratings_stand_for_a_type(tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != "event_type"} | {"rating": "4"} for row in visits()]
    events = ingested(save(tmp_path / "ratings.csv", rows), tmp_path / "out").events()
    assert set(events["event_type"].to_pylist()) == {"rating"}


def test_equal_rows_without_an_id_are_two_events(tmp_path: Path) -> None:
    ids = ingested(save(tmp_path / "events.csv", visits() + visits()), tmp_path / "out").events()["event_id"].to_pylist()
    assert ids[10:] == [f"{first}-2" for first in ids[:10]]


def test_equal_rows_with_an_id_are_one_event_and_the_report_says_so(tmp_path: Path) -> None:
    rows = [row | {"event_id": f"e{number}"} for number, row in enumerate(visits())]
    report = ingest(str(save(tmp_path / "events.csv", rows + rows[:3])), tmp_path / "out")
    assert (report.tables["events"].rows_kept, report.tables["events"].dropped) == (10, {IDENTICAL: 3})


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.permutations(COLUMNS), packed=st.booleans())
def test_the_order_of_columns_and_packing_change_nothing(names: list[str], packed: bool, tmp_path: Path) -> None:
    straight = ingested(save(tmp_path / "events.csv", visits()), tmp_path / "out")
    other = save(tmp_path / "shuffled.csv", [{name: row[name] for name in names} for row in visits()])
    if packed:
        other = tmp_path / "shuffled.csv.gz"
        other.write_bytes(gzip.compress((tmp_path / "shuffled.csv").read_bytes()))
    assert ingested(other, tmp_path / "other").events().equals(straight.events())


def test_the_same_bytes_give_the_same_files_wherever_they_lie(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        ingest(str(save(tmp_path / place / "events.csv", visits())), tmp_path / place / "out")
    assert storage.digest(tmp_path / "here" / "out") == storage.digest(tmp_path / "there" / "out")


def test_a_folder_of_tables_keeps_what_it_says_and_derives_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    save(folder / "events.csv", visits())
    (folder / "items.jsonl").write_text('{"item_id": "b", "price": 2}\n{"item_id": "c"}\n')
    report = ingest(str(folder), tmp_path / "out")
    items = tables.Tables(root=tmp_path / "out").items().to_pylist()
    assert [(item["item_id"], item["title"], item["price"], item["created_at"].minute) for item in items] == [
        ("b", "b", 2.0, 1),
        ("c", "c", None, 0),
    ]
    assert report.tables["items"].added == 0
    assert "5 events name items that are not here" in report.markdown()


def test_bad_rows_leave_nothing_behind(tmp_path: Path) -> None:
    data = save(tmp_path / "events.csv", [visits()[0] | {"user_id": ""}, *visits()])
    with pytest.raises(DataError, match="E103"):
        ingest(str(data), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


def test_quarantine_keeps_bad_rows_beside_the_good_ones(tmp_path: Path) -> None:
    data = save(tmp_path / "events.csv", [visits()[0] | {"user_id": ""}, *visits()])
    report = ingest(str(data), tmp_path / "out", quarantine=True)
    bad = [json.loads(line) for line in (tmp_path / "out" / tables.QUARANTINE).read_text().splitlines()]
    assert [(row["code"], row["file"], row["line"], row["column"]) for row in bad] == [("E103", "events.csv", 2, "user_id")]
    assert (report.tables["events"].rows_in, report.tables["events"].rows_kept, report.tables["events"].dropped) == (11, 10, {"E103": 1})


def test_a_mapping_renames_and_travels_in_the_address(tmp_path: Path) -> None:
    rows = [{"the time, please": row["event_time"], **{name: row[name] for name in COLUMNS[:3]}} for row in visits()]
    address = Address(path=str(save(tmp_path / "events.csv", rows)), mapping={"event_time": "the time, please"})
    assert parse_address(str(address)) == address
    assert len(ingested(str(address), tmp_path / "out").events()) == 10
    with pytest.raises(DataError, match="E101"):
        ingest(str(tmp_path / "events.csv"), tmp_path / "out", mapping={"event_time": "the hour"})
    with pytest.raises(UsageError, match="the contract has no column 'evnt_time'; did you mean event_time"):
        ingest(str(tmp_path / "events.csv"), tmp_path / "out", mapping={"evnt_time": "ts"})


names = st.text(min_size=1, max_size=10)


@given(
    path=st.text(st.characters(exclude_characters="?"), max_size=20).filter(str.strip),
    mapping=st.dictionaries(st.sampled_from(COLUMNS), names),
    time_zone=st.sampled_from(["", "UTC", "Europe/Paris"]),
    cache=st.from_regex(r"[A-Za-z0-9._-]{0,32}", fullmatch=True),
)
def test_an_address_is_read_as_it_was_written(path: str, mapping: dict[str, str], time_zone: str, cache: str) -> None:
    address = Address(path=path, mapping=mapping, time_zone=time_zone, cache=cache)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("rows", [visits(4), []])
def test_too_few_users_and_no_rows_are_coded_errors(rows: list[Row], tmp_path: Path) -> None:
    data = save(tmp_path / "events.csv", rows or visits())
    if not rows:
        data.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(DataError, match="E203" if rows else "E201"):
        ingest(str(data), tmp_path / "out")


@pytest.mark.parametrize("name", ["none.csv", "empty", "simulator:users=many"])
def test_what_cannot_be_data_is_a_usage_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        ingest(name if name.startswith("simulator") else str(tmp_path / name), tmp_path / "out")


def test_the_simulators_tables_pass_the_checks(tmp_path: Path) -> None:
    report = ingest("simulator:users=60,items=40,events=1500,seed=1", tmp_path / "out")
    assert report.source == "simulator:users=60,items=40,events=1500,seed=1"
    assert report.tables["events"].rows_in == report.tables["events"].rows_kept > 0
    assert json.loads((tmp_path / "out" / manifest.FILE).read_text())["contract"] == schema.HASH


def test_rows_are_kept_in_the_order_of_the_file(tmp_path: Path) -> None:
    # Arrow reads a file in blocks of 4 MiB; threads must not insert a later one first.
    rows = range(100_000)
    lines = (f"u{row % 7},i{row},view,2026-01-01T00:00:00Z,{row} {'x' * 60}\n" for row in rows)
    (tmp_path / "events.csv").write_text("user_id,item_id,event_type,event_time,query_text\n" + "".join(lines))
    ingest(str(tmp_path / "events.csv"), tmp_path / "tables")
    found = tables.Tables(root=tmp_path / "tables").events()["item_id"].to_pylist()
    assert found == [f"i{row}" for row in rows]
