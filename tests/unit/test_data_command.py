"""`lodestar data validate` says what a run would say, and leaves nothing behind."""

import os
from pathlib import Path

import pytest

from cli.main import main

GOOD = [f"u{user},i{user % 2},view,2026-01-01T00:00:0{user}Z" for user in range(6)]
HEAD = "user_id,item_id,event_type,event_time"


def write(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "events.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def validate(*options: str | Path) -> int:
    return main(["data", "validate", "--data", *map(str, options)])


def test_good_data_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(write(tmp_path, *GOOD)) == 0
    assert "| events | 6 | 6 | 0 | 0 |" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["events.csv"]


def test_the_first_bad_row_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(write(tmp_path, *GOOD, "u7,,view,2026-01-01T00:00:00Z")) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "E103 events.csv, line 8, column item_id" in said.err


def test_with_quarantine_the_first_five_of_each_code_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = [f"v{row},,view,2026-01-01T00:00:00Z" for row in range(7)]
    assert validate(write(tmp_path, *GOOD, *empty, "u7,i1,ogle,2026-01-01T00:00:00Z"), "--quarantine") == 3
    said = capsys.readouterr().out
    assert [f"line {line}," in said for line in range(8, 16)] == [True] * 5 + [False] * 2 + [True]
    assert "- events: E103: 7" in said


def test_columns_are_renamed(tmp_path: Path) -> None:
    path = write(tmp_path, *GOOD, head="user_id,item_id,event_type,hour")
    assert validate(path) == 3
    assert validate(path, "--map", "event_time=hour") == 0


def test_what_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert validate(tmp_path / "none.csv") == 2


def test_what_is_written_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        events = write(tmp_path, *GOOD)
        assert main(["data", "ingest", "--data", str(events), "--output", str(tmp_path / "tables")]) == 0
    finally:
        os.umask(before)
    written = [tmp_path / "tables", *(tmp_path / "tables").rglob("*")]
    assert [str(path) for path in written if path.stat().st_mode & 0o077] == []
