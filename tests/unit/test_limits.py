"""A value or a row that is too long has a code, and its line is named."""

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lodestar.data.ingest import validate
from lodestar.errors import DataError

HEADER = b"user_id,item_id,event_type,event_time,query_text\n"
MB = 1 << 20


def csv(text: bytes, number: int = 1) -> bytes:
    return b"u%d,i1,view,2026-01-01T00:00:00Z,%s\n" % (number, text)


def json_line(text: bytes, number: int = 1) -> bytes:
    return b'{"user_id":"u%d","item_id":"i1","event_type":"view","event_time":"2026-01-01T00:00:00Z","query_text":"%s"}\n' % (number, text)


GOOD = {
    "csv": HEADER + b"".join(csv(b"q", number) for number in range(6)),
    "jsonl": b"".join(json_line(b"q", number) for number in range(6)),
}


@pytest.mark.parametrize(("kind", "row"), [("csv", csv), ("jsonl", json_line)])
@pytest.mark.parametrize(("size", "kept"), [(200_000, 7), (MB, 7), (MB + 1, 6)])
def test_a_value_has_a_length_that_is_said(kind: str, row: Callable[..., bytes], size: int, kept: int, tmp_path: Path) -> None:
    path = tmp_path / f"events.{kind}"
    path.write_bytes(GOOD[kind] + row(b"x" * size) + row(b"y", 9)[: -1 if kind == "csv" else None])
    assert validate(str(path), quarantine=True).tables["events"].dropped == ({} if kept == 7 else {"E170": 1})
    if kept < 7:
        with pytest.raises(DataError, match=rf"E170 events\.{kind}, line {8 if kind == 'csv' else 7}, column query_text.* 1,048,576 bytes"):
            validate(str(path))


def test_the_line_of_a_bad_row_is_found_behind_a_long_value(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(GOOD["csv"] + csv(b"x" * 200_000) + b",i1,view,2026-01-01T00:00:00Z,q\n")
    with pytest.raises(DataError, match=r"E103 events\.csv, line 9, column user_id"):
        validate(str(tmp_path / "events.csv"))


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (['u1,i1,view,2026-01-01T00:00:00Z,"open', "u2,i1,view,2026-01-01T00:00:00Z,q", 'u3,i1,view,2026-01-01T00:00:00Z,q"'], 8),
        (['u1,i1,view,2026-01-01T00:00:00Z,"open', "u2,i1,view,2026-01-01T00:00:00Z,q", "u3,i1,view,2026-01-01T00:00:00Z,q"], 8),
        (['u1,i1,view,2026-01-01T00:00:00Z,"a text', "of three lines, with commas", 'and no rows"'], 0),
    ],
)
def test_a_quote_that_swallows_rows_is_named(rows: list[str], line: int, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_bytes(GOOD["csv"] + "\n".join(rows).encode() + b"\n")
    if line:
        with pytest.raises(DataError, match=rf"E172 events\.csv, line {line}"):
            validate(str(tmp_path / "events.csv"), quarantine=True)
    else:
        assert validate(str(tmp_path / "events.csv")).tables["events"].rows_kept == 7


def test_a_file_says_by_its_first_bytes_how_it_is_written(tmp_path: Path) -> None:
    for name, content in {"packed.csv": gzip.compress(GOOD["csv"]), "wide.csv": GOOD["csv"].decode().encode("utf-16")}.items():
        (tmp_path / name).write_bytes(content)
        assert validate(str(tmp_path / name)).tables["events"].rows_kept == 6


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'[{"user_id": "u1"}]', "a JSON array"),
        (b'{\n "user_id": "u1"\n}\n', "JSON over several lines"),
        (b'{"user_id":\n"u1"\n}\n', "JSON over several lines"),
    ],
)
def test_json_of_another_form_is_said_with_the_command_that_converts(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "in" / "-x").mkdir(parents=True)
    (tmp_path / "in" / "-x" / "own events.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=rf"E175 own events\.jsonl, line 1: the file is {what}") as caught:
        validate(str(tmp_path / "in" / "-x" / "own events.jsonl"))
    subprocess.run(["bash", "-c", caught.value.remedy.removeprefix("Convert it: ")], cwd=tmp_path, check=True)
    assert (tmp_path / "lines-own events.jsonl").read_bytes() == b'{"user_id":"u1"}\n'
