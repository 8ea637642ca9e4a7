"""Plain files: those in the contract's shape go on as they are, of others what is sure is used, and guesses are refused at once."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import lodestar.data.describe.plain as plain_path
from cli.main import main
from lodestar.data.declaration.model import FILE
from lodestar.data.ingest import append, validate
from lodestar.data.resolve import resolve_tables
from lodestar.data.version import data_version
from lodestar.errors import DataError, UsageError
from tests.describing import EVENTS, HEADER, PLAIN, decided, described, ingested, log, plain, triples
from tests.factories import ROOT, write_files


def untyped(user: str, item: str, time: datetime) -> str:
    return f"{user},{item},{time.isoformat()}"


def rated(user: str, item: str, time: datetime) -> str:
    return f"{user},{item},4,{time.timestamp():.0f}"


def refused(folder: Path, name: str = "", **options: object) -> DataError:
    with pytest.raises(DataError) as caught:
        validate(str(folder / name), **options)  # type: ignore[arg-type]
    return caught.value


def test_files_in_the_contracts_shape_are_not_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("described")

    monkeypatch.setattr(plain_path, "describe", fail)
    files = {"events.csv": PLAIN, "items.csv": "item_id,title,price,category_path\ni1,Lamp,4.5,Home|Light\n", "README.txt": "About.\n"}
    report = validate(str(write_files(tmp_path, files)))
    assert report.notes == ()
    assert report.tables["items"].rows_kept == 1


def test_what_is_sure_is_used_and_said(tmp_path: Path) -> None:
    write_files(tmp_path, {"log.csv": log("visitorid,itemid,event_type,ts", plain)})
    report = validate(str(tmp_path / "log.csv"))
    assert report.tables["events"].rows_kept == len(EVENTS)
    assert report.notes[0] == 'found: events.user_id = "visitorid" (by its name and values, as no other)'
    assert triples(ingested(tmp_path / "log.csv")) == EVENTS


def test_a_folder_of_foreign_names_is_read_as_tables_and_said(tmp_path: Path) -> None:
    files = {
        "ratings.csv": log("customerId,productId,rating,timestamp", rated),
        "products.csv": "productId,title,genres\n" + "".join(f"i{item},Film {item},Drama|War\n" for item in range(9)),
        "links.csv": "productId,imdbId\ni1,7\n",
    }
    report = validate(str(write_files(tmp_path, files)))
    assert report.tables["events"].rows_kept == len(EVENTS)
    assert report.tables["items"].rows_kept == 9
    assert {"found: ratings.csv: events", "found: products.csv: items"} <= set(report.notes)
    assert any(note.startswith("links.csv is not read: ") for note in report.notes)


def test_all_guesses_of_all_files_are_refused_in_one_answer(tmp_path: Path) -> None:
    rows = log("customer_id,item_id,event_type,ts", lambda user, item, time: f"{user},{item},VIEW,{time:%Y-%m-%d %H:%M:%S}")
    users = "id,country\n" + "".join(f"u{user},DE\n" for user in range(7))
    error = str(refused(write_files(tmp_path, {"events.csv": rows, "users.csv": users})))
    for line in ('time_zone = "UTC"', 'users.user_id = "id"', 'events.user_id = "customer_id"', 'event_types.VIEW = "view"'):
        assert f"\n  {line}" in error
    assert re.findall(r"(E\d{3}) \S+", error) == ["E106", "E101", "E101", "E110"]
    assert "events.csv, line 2, column ts, value '2023-11-01 06:30:05'" in error
    assert error.endswith(f"lodestar data describe {tmp_path} > dataset.toml")


def test_the_command_of_a_refusal_writes_a_declaration_that_leads_on(tmp_path: Path) -> None:
    write_files(tmp_path, {"shop/log.csv": log("user_id,item_id,ts", untyped)})
    error = str(refused(tmp_path, "shop/log.csv"))
    command = error.rpartition("written by: ")[2].replace(
        "lodestar ", f"{sys.executable} -c 'import sys, cli.main; sys.exit(cli.main.main())' "
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(command, shell=True, cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    assert b"left to decide" in done.stderr
    text, edits = decided((elsewhere / FILE).read_text())
    assert edits == 1
    (elsewhere / FILE).write_text(text)
    assert triples(ingested(elsewhere / FILE)) == EVENTS
    assert triples(ingested(elsewhere)) == EVENTS


def test_a_line_of_a_refusal_may_stand_anywhere_in_the_declaration(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"log.csv": log("user_id,item_id,event_type,ts", lambda user, item, time: f"{user},{item},pv,{time:%Y-%m-%d %H:%M:%S}")}
    )
    lines = [line.strip() for line in str(refused(tmp_path, "log.csv")).splitlines() if " = " in line]
    assert lines == ['time_zone = "UTC"', 'event_types.pv = "view"']
    found = described(tmp_path, "log.csv").text
    for text in ("\n".join([*lines, found]), "\n".join([found, *lines])):
        (tmp_path / FILE).write_text(text)
        assert triples(ingested(tmp_path)) == EVENTS


def test_a_mapping_counts_as_declared(tmp_path: Path) -> None:
    path = write_files(tmp_path, {"log.csv": log("who,what,event_type,event_time", plain)}) / "log.csv"
    assert refused(path.parent, path.name).code == "E101"
    mapping = {"user_id": "who", "item_id": "what"}
    assert validate(str(path), mapping=mapping).tables["events"].rows_kept == len(EVENTS)
    rows = log("who,itemid,event_type,ts", plain)
    path.write_text(rows)
    report = validate(str(path), mapping={"user_id": "who"})
    assert 'found: events.user_id = "who" (it is given by --map)' in report.notes


def test_a_mapping_of_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"log.csv": log("uid,item_id,event_type,event_time", plain)})
    error = refused(tmp_path, "log.csv", mapping={"user_id": "uidd"})
    assert error.code == "E101"
    assert "--map user_id=uid" in error.remedy


def test_a_few_bad_rows_are_the_validators(tmp_path: Path) -> None:
    bad = "u1,i1,ogle,2026-01-01T00:00:00Z\nu1,i1,view,2026-01-01\n"
    write_files(tmp_path, {"log.csv": PLAIN + bad})
    report = validate(str(tmp_path / "log.csv"), quarantine=True)
    assert report.tables["events"].rows_kept == len(EVENTS)
    assert set(report.tables["events"].dropped) == {"E106", "E110"}


def test_plain_interactions_of_a_folder_are_views(tmp_path: Path) -> None:
    write_files(tmp_path, {"shop/interactions.csv": log("user_id,item_id,event_time", untyped)})
    rows = ingested(tmp_path / "shop")
    assert {row["event_type"] for row in rows} == {"view"}
    assert refused(tmp_path, "shop/interactions.csv").code == "E101"


def test_an_append_describes_what_is_new(tmp_path: Path) -> None:
    folder, tables = tmp_path / "logs", tmp_path / "tables"
    write_files(folder, {"1.csv": log("visitorid,itemid,event_type,ts", plain)})
    assert append(str(folder), tables).tables["events"].rows_kept == len(EVENTS)
    more = f"visitorid,itemid,event_type,ts\n{plain('u9', 'i9', datetime(2026, 1, 1, tzinfo=UTC))}\n"
    write_files(folder, {"2.csv": more})
    report = append(str(folder), tables)
    assert report.tables["events"].rows_kept == 1
    assert report.known_files == 1
    assert append(str(folder), tables).tables["events"].rows_kept == 0


def test_a_wildcard_is_described_as_one_source(tmp_path: Path) -> None:
    write_files(tmp_path, {f"day{day}/log.csv": log("visitorid,itemid,event_type,ts", plain) for day in (1, 2)})
    report = validate(str(tmp_path / "day*" / "*.csv"))
    assert report.tables["events"].rows_in == 2 * len(EVENTS)


def test_an_empty_declaration_that_a_shell_made_is_none(tmp_path: Path) -> None:
    write_files(tmp_path, {"log.csv": log("visitorid,itemid,event_type,ts", plain), FILE: ""})
    assert triples(ingested(tmp_path)) == EVENTS
    assert main(["data", "describe", str(tmp_path)]) == 0


def test_a_declaration_may_lie_elsewhere_and_names_the_folder(tmp_path: Path) -> None:
    write_files(tmp_path, {"data/log.csv": PLAIN, FILE: 'folder = "data"\nevents.files = "log.csv"\n'})
    assert triples(ingested(tmp_path / FILE)) == EVENTS
    (tmp_path / FILE).write_text('folder = "dta"\nevents.files = "log.csv"\n')
    assert refused(tmp_path, FILE).code == "E142"


def test_the_version_of_described_data_follows_what_is_read(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {"ratings.csv": log("customerId,productId,rating,timestamp", rated)},
    )
    before = data_version(str(tmp_path))
    (tmp_path / "notes.md").write_text("a note")
    assert data_version(str(tmp_path)) == before
    write_files(tmp_path, {"products.csv": "productId,title\ni1,Film\n"})
    assert data_version(str(tmp_path)) != before


def test_a_folder_without_events_says_what_each_file_is(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.csv": "x,y\n1,2\n3,4\n", "b.csv": "x,z\n1,2\n"})
    error = str(refused(tmp_path))
    assert error.startswith("E201")
    assert "a.csv: " in error
    assert "b.csv: " in error
    with pytest.raises(UsageError, match="holds neither events nor"):
        resolve_tables(str(write_files(tmp_path / "none", {"notes.md": "a note"})), {})


def test_the_header_of_a_described_file_is_80_columns_wide_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path, {"log.csv": f"{HEADER}\n{plain(*EVENTS[0])}\n"})
    assert main(["data", "describe", str(tmp_path / "log.csv")]) == 0
    said = capsys.readouterr()
    assert 'events.files = "log.csv"' in said.out
    assert said.err.splitlines()[0] == "events:"
