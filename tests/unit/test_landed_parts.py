"""What a collector has landed is read whatever is in it: the good rows are kept, the bad ones set aside, counted and reported."""

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lodestar import schema
from lodestar.data.contract.report import Report
from lodestar.data.ingest import append
from lodestar.data.readers.collector_parts import is_part, new_part
from lodestar.data.readers.json_objects import json_lines
from lodestar.errors import DataError

PARTS = [f"part-20260131T12000000000{place}Z-3f9a0c1d2e4b.jsonl.gz" for place in range(2)]
NOT_CUT = 1500


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        **{schema.EVENT_ID: f"e{number}", schema.USER_ID: f"u{number % 7}", schema.ITEM_ID: "i1", schema.EVENT_TYPE: "view"},
        **{schema.EVENT_TIME: "2026-01-31T12:00:00Z", schema.INGESTED_AT: "2026-01-31T12:00:01.000000Z"},
        **more,
    }


def lines(*rows: dict[str, Any] | bytes) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in rows)


def added(folder: Path, part: bytes, table: str = "events") -> Report:
    """What is reported of a landing with a good part and another, in tables that are there afterwards."""
    (folder / "landing/events").mkdir(parents=True, exist_ok=True)
    (folder / "landing" / table).mkdir(exist_ok=True)
    (folder / "landing/events" / PARTS[0]).write_bytes(gzip.compress(lines(*map(row, range(10)))))
    (folder / "landing" / table / PARTS[1]).write_bytes(part)
    return append(str(folder / "landing"), folder / "tables")


HOSTILE: dict[str, tuple[bytes, int, dict[str, int]]] = {
    "another row of the same id": (lines(row(1, item_id="i2"), row(20)), 1, {"E120": 1}),
    "the year 0": (
        lines(row(20, event_time="0000-01-01T00:00:00Z"), row(21, event_time="9999-01-01T00:00:00Z")),
        0,
        {"E102": 1, "E105": 1},
    ),
    "a last line that is torn": (lines(row(20), row(21))[:-20], 1, {"E109": 1}),
    "no JSON": (lines(row(20), b"what", b'{"a":"\x01"}', b"\x00", b"[1]", row(21)), 2, {"E109": 4}),
    "deep JSON": (lines(row(20), b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}", b"[" * 10**6), 1, {"E103": 1, "E109": 1}),
    "a long value": (lines(row(20, query_text="x" * 8192), row(21, user_id="x" * 8193)), 1, {"E103": 1}),
    "a line without an end": (b'{"a":"' + b"x" * 5_000_000 + b'"}\n' + lines(row(20)), 1, {"E171": 1}),
    "no UTF-8": (lines(b'{"event_id":"\xff"}', row(20)), 1, {"E104": 1}),
    "a key twice": (lines(b'{"event_id":"e20",' + json.dumps(row(20)).encode()[1:], row(21)), 1, {"E173": 1}),
    "nothing that an event needs": (lines({}, {"event_id": "e20"}, row(20, event_type="purchase")), 0, {"E103": 1, "E107": 1, "E111": 1}),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_bad_rows_are_set_aside_and_the_others_kept(what: str, tmp_path: Path) -> None:
    content, kept, dropped = HOSTILE[what]
    report = added(tmp_path, gzip.compress(content)).tables["events"]
    assert (report.rows_kept, report.dropped) == (10 + kept, dropped)
    aside = [json.loads(line) for line in (tmp_path / "tables/quarantine.jsonl").read_text().splitlines()]
    assert {line["file"] for line in aside} == {f"events/{PARTS[1]}"}
    assert sorted(line["code"] for line in aside) == sorted(code for code, count in dropped.items() for _ in range(count))


NOT_NEEDED: dict[str, tuple[bytes, str]] = {
    "a long value": (lines(row(20, query_text="x" * 8193)), "E170 query_text"),
    "attributes twice": (lines(row(20, attrs='{"a":1,"a":2}')), "E173 attrs"),
    "a large number": (lines(json.dumps(row(20, value=7)).encode()[:-2] + b"1e400}"), "E102 value"),
    "a small number": (lines(row(20, position=-1)), "E102 position"),
}


@pytest.mark.parametrize("what", NOT_NEEDED)
def test_a_cell_that_cannot_be_read_is_null_and_said(what: str, tmp_path: Path) -> None:
    content, said = NOT_NEEDED[what]
    report = added(tmp_path, gzip.compress(content))
    assert (report.tables["events"].rows_kept, report.tables["events"].dropped) == (11, {})
    assert [(f"{one.code} {one.column}", one.count, one.places) for one in report.findings if one.places] == [
        (said, 1, (f"events/{PARTS[1]}, line 1",))
    ]


DAMAGED = {
    "no gzip": (b"hello", 0),
    "cut": (gzip.compress(lines(*map(row, range(100, 2000))))[:-500], NOT_CUT),
    "empty": (b"", 0),
    "gzip of nothing": (gzip.compress(b""), 0),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_part_is_read_as_far_as_it_goes(what: str, tmp_path: Path) -> None:
    content, least = DAMAGED[what]
    report = added(tmp_path, content).tables["events"]
    assert report.dropped == {"E174": 1}
    assert 10 + least <= report.rows_kept == report.rows_in - 1


def test_a_part_that_unpacks_to_too_much_is_read_as_far_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lodestar.data.readers.json_objects.json_lines.MAX_PART_BYTES", 1 << 21)
    report = added(tmp_path, gzip.compress(lines(*map(row, range(20_000))))).tables["events"]
    assert report.dropped["E174"] == 1
    assert 10 < report.rows_kept < 20_000


def test_impressions_that_lack_a_column_are_set_aside(tmp_path: Path) -> None:
    assert added(tmp_path, gzip.compress(lines({"request_id": "r"})), "impressions").tables["impressions"].dropped == {"E103": 1}


def test_a_bad_row_of_a_predictors_log_is_set_aside(tmp_path: Path) -> None:
    place = {**row(1), schema.POSITION: 1, schema.SHOWN_AT: "2026-01-31T12:00:00Z", schema.SURFACE: "home", schema.MODEL_DIGEST: "d"}
    place |= {schema.ARM: "control", schema.PROPENSITY: 1.0, schema.FEATURE_HASH: "f", schema.IS_SPONSORED: False}
    users = ("null", "u2", "%20", " ")
    shown = lines(*({**place, schema.REQUEST_ID: f"r{number}", schema.USER_ID: user} for number, user in enumerate(users)), b'{"torn')
    folder = tmp_path / "landing/impressions/date=2026-01-31"
    folder.mkdir(parents=True)
    (folder / PARTS[1].removesuffix(".gz")).write_bytes(shown)
    report = added(tmp_path, gzip.compress(lines(row(20)))).tables["impressions"]
    assert (report.rows_kept, report.dropped) == (2, {"E103": 2, "E109": 1})


LINKS: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a link to nothing": lambda path: path.symlink_to("/nonexistent"),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("what", LINKS)
def test_what_is_no_plain_file_is_left_out_and_said(what: str, tmp_path: Path) -> None:
    (tmp_path / "landing/events").mkdir(parents=True)
    (tmp_path / "landing/events" / PARTS[0]).write_bytes(gzip.compress(lines(*map(row, range(10)))))
    LINKS[what](tmp_path / "landing/events" / PARTS[1])
    report = append(str(tmp_path / "landing"), tmp_path / "tables")
    assert report.tables["events"].rows_kept == 10
    assert report.notes == (f"E177 events/{PARTS[1]} is no plain file, and was left out",)
    assert report.notes[0] in report.markdown()


def test_parts_of_no_table_are_left_out_and_said(tmp_path: Path) -> None:
    report = added(tmp_path, gzip.compress(lines(row(20))), "evnts")
    assert report.notes == ("E177 1 parts lie in evnts, which is no table, and were left out",)


def test_what_was_set_aside_is_not_read_again(tmp_path: Path) -> None:
    added(tmp_path, gzip.compress(lines(row(1, item_id="i2"))))
    again = append(str(tmp_path / "landing"), tmp_path / "tables")
    assert (again.known_files, again.tables["events"].rows_in) == (2, 0)


def test_ones_own_file_beside_it_still_stops(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing/items.csv").write_text("item_id,is_active\ni1,maybe\n")
    with pytest.raises(DataError, match=r"E107 items\.csv, line 2, column is_active"):
        added(tmp_path, gzip.compress(lines(b"what")))
    assert not (tmp_path / "tables/manifest.json").exists()


def test_a_file_that_nobody_may_read_is_no_stack_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lodestar.data.ingest._digest", refused)
    monkeypatch.setattr("lodestar.data.readers.decompression.compression_of", refused)
    (tmp_path / "own.csv").write_text("user_id\n")
    with pytest.raises(DataError, match=r"E108 own\.csv: the file cannot be read \(Permission denied\)"):
        append(str(tmp_path / "own.csv"), tmp_path / "own")
    report = added(tmp_path, gzip.compress(lines(row(20))))
    assert (report.tables["events"].rows_kept, report.tables["events"].dropped) == (0, {"E174": 2})


def test_a_collectors_name_is_known_and_no_other() -> None:
    assert all(is_part(Path(f"{new_part()}{suffix}")) for suffix in (".jsonl.gz", ".jsonl"))
    others = ("part-0000.parquet", "part-00000-3f9a0c1d2e4b.jsonl.gz", "events.jsonl.gz", f"x{PARTS[0]}", f"{PARTS[0]}.gz")
    assert not any(is_part(Path(name)) for name in others)


def test_of_many_bad_lines_some_are_written_down_and_the_others_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_BAD_LINES", 100)
    report = added(tmp_path, gzip.compress(lines(*[b"x"] * 1000, row(20)))).tables["events"]
    assert report.dropped == {"E109": 100, json_lines.MORE: 900}
    assert (report.rows_in, report.rows_kept) == (1011, 11)
    assert len((tmp_path / "tables/quarantine.jsonl").read_bytes().splitlines()) == 100
