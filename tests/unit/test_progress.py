"""Progress on a terminal fits one line of any width; elsewhere it is one record a line, with the time."""

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestar.progress import Progress, activity, duration, is_interactive, log_event, progress_line

ROOT = Path(__file__).parents[2]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PROGRAM = """
import time
from lodestar.progress import Progress, activity
with activity("reading"):
    time.sleep(0.4)
with Progress("train search", 2) as progress:
    progress.advance(loss=2.5)
    time.sleep(0.4)
    progress.advance(loss=1.5)
"""


@given(
    width=st.integers(1, 250),
    label=st.text(max_size=60),
    done=st.integers(0, 10**9),
    values=st.dictionaries(st.text(max_size=9), st.floats()),
)
def test_a_line_is_never_wider_than_the_terminal(width: int, label: str, done: int, values: dict[str, float]) -> None:
    assert len(progress_line(width, label, 12.0, (done, 10**9, 5.0), values)) <= width
    assert len(progress_line(width, label, 12.0)) <= width


def test_a_narrow_line_leaves_out_values_then_the_bar_then_the_eta() -> None:
    given_ = ("train", 75.0, (3, 9, 150.0), {"loss": 2.5})
    assert progress_line(100, *given_) == f"train  {'━' * 10}{'─' * 20}  3/9  1 min 15 s  2 min 30 s left  loss 2.5"
    assert progress_line(40, *given_) == "train  3/9  1 min 15 s  2 min 30 s left"
    assert progress_line(25, *given_) == "train  3/9  1 min 15 s"
    assert progress_line(10, *given_) == "train  1 …"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3780, "1 h 3 min"), (4e6, "1,111 h 6 min")],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_without_a_terminal_each_event_is_one_record_with_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    log_event("tuned", family="ease" * 100)
    with activity("reading"), Progress("count", 2) as progress:
        progress.advance(2, loss=0.5)
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [record["lodestar"] for record in records] == ["tuned", "activity", "activity", "progress"]
    assert all(TIME.fullmatch(record["time"]) for record in records)
    assert [record.get("what") for record in records[1:3]] == ["reading", "count"]


def _on_a_terminal(columns: int, program: str = PROGRAM, **environment: str) -> str:
    """What a program writes to a terminal."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", "PYTHONPATH": str(ROOT), **environment}
    with subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=settings) as process:
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], 60)[0]:
            try:
                written += os.read(ours, 65536)
            except OSError:  # the terminal's other side is closed
                break
        assert process.wait() == 0
    os.close(ours)
    return written.decode()


def test_a_terminal_shows_a_spinner_and_a_bar_on_one_line_and_leaves_nothing() -> None:
    written = _on_a_terminal(60)
    assert re.search("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] reading  0 s", written)
    assert re.search("train search  ━+─+  1/2  0 s  0 s left", written)
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", written)]
    assert max(map(len, plain)) <= 60
    assert written.rstrip().endswith("\x1b[2K")  # the line is gone


def test_what_was_done_before_an_interruption_does_not_shorten_the_eta(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr("lodestar.progress.time.monotonic", lambda: next(seconds))
    with Progress("train search", 100, 90) as progress:
        progress.advance(5)
    record = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (record["done"], record["eta_s"]) == (95, 10.0)


INSIDE = """
import time
from lodestar.progress import Progress, activity
with activity("validating"), Progress("ingest", 2) as progress:
    progress.advance()
    time.sleep(0.5)
"""


def test_a_display_inside_another_is_drawn_with_it() -> None:
    written = _on_a_terminal(60, INSIDE)
    assert re.search(r"validating  0 s[^\n]*\n[^\n]*ingest  ━+─+  1/2", written.replace("\r", ""))


NARROWER = """
import time
from rich.text import Text
from lodestar.progress import live_display
with live_display(lambda width: Text("x" * 90, no_wrap=True, overflow="ellipsis"), is_transient=True):
    time.sleep(0.5)
    print("shown", flush=True)
    time.sleep(1)
"""


def test_what_a_narrower_terminal_breaks_into_several_rows_is_erased() -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    settings = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", NARROWER], stdout=theirs, stderr=theirs, env=settings) as process:
        written = ""
        while "shown" not in written:
            written += os.read(ours, 65536).decode()
        termios.tcsetwinsize(theirs, (24, 40))
        os.close(theirs)
        before, written = written, ""
        with contextlib.suppress(OSError):  # the terminal's other side is closed
            while True:
                written += os.read(ours, 65536).decode()
        assert process.wait() == 0
    os.close(ours)
    assert "\x1b[1A" not in before.partition("shown")[0]  # one row
    assert "\r\x1b[2K\x1b[1A\x1b[2K\x1b[1A\x1b[2K" in written  # three rows of forty


def test_no_color_is_kept_to() -> None:
    assert not re.search(r"\x1b\[[0-9;]*m", _on_a_terminal(80, NO_COLOR="1"))


def test_a_terminal_that_cannot_move_its_cursor_gets_records() -> None:
    written = _on_a_terminal(80, TERM="dumb")
    assert "\x1b" not in written
    assert [json.loads(line)["lodestar"] for line in written.splitlines()] == ["activity", "activity", "progress"]


def test_a_process_without_a_terminal_is_not_interactive() -> None:
    assert not is_interactive()
