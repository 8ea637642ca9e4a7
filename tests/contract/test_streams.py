"""Commands whose streams are closed, whose disk is full, or that are stopped: no stack trace, nothing half written, a telling exit code."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INTERRUPTED_IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder
class CtrlC(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "cli.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
from cli.__main__ import main
main()
"""
LODESTAR = shlex.join([sys.executable, "-m", "cli"])
RECIPES = f"{LODESTAR} recipes"


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """A small log of clicks."""
    rows = [f"u{user},i{item},click,2026-01-0{1 + user % 5}T00:00:0{item}Z\n" for user in range(60) for item in range(9)]
    (tmp_path / "clicks.csv").write_text("user_id,item_id,event_type,event_time\n" + "".join(rows))
    return tmp_path / "clicks.csv"


def run_shell(line: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False, timeout=120)


@pytest.mark.parametrize(("redirected", "code"), [(">&-", 0), ("2>&-", 0), ("<&-", 0), (">/dev/full", 5), ("2>/dev/full >/dev/full", 5)])
def test_a_command_ends_in_order_whatever_its_streams_are(redirected: str, code: int) -> None:
    done = run_shell(f"{RECIPES} {redirected}")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_output_on_a_full_disk_is_said_with_a_code() -> None:
    assert run_shell(f"{RECIPES} >/dev/full").stderr.startswith("lodestar: E506 the output cannot be written (No space left on device).")


@pytest.mark.parametrize("closed", ["| true", "2>&1 | true"])
def test_who_reads_no_further_ends_the_command(closed: str) -> None:
    done = run_shell(f"{RECIPES} {closed}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_an_encoding_lacks_are_escaped(encoding: str) -> None:
    done = run_shell(RECIPES, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert "\\u2264" in done.stdout


def test_a_closed_stream_is_not_another_file_s(clicks: Path) -> None:
    """What is opened after a closed standard output would get its number, and with it what is printed."""
    page = clicks.with_name("page.html")
    done = run_shell(f"{LODESTAR} data profile --data {clicks} --output {page} >&- 2>&-")
    assert done.returncode == 0
    assert page.read_text().rstrip().endswith("</html>")


@pytest.mark.parametrize("blocks", [4, 16])
def test_a_full_disk_is_said_with_a_code_and_leaves_nothing(blocks: int, clicks: Path) -> None:
    """A limit on the size of files, in KiB, is met as a full disk is: by Python at first, by the database later."""
    done = run_shell(f"ulimit -f {blocks}; {LODESTAR} data ingest --data {clicks} --output {clicks.with_name('shop')}")
    assert done.returncode == 5, done.stderr
    assert "lodestar: E506 " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(clicks.parent.iterdir()) == [clicks]


def test_ctrl_c_while_modules_are_imported_is_silent() -> None:
    done = run_shell(shlex.join([sys.executable, "-c", INTERRUPTED_IMPORT]))
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""


def test_a_simulation_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """Half a table would be read as a damaged one by the next command."""
    words = ["simulate", "--users", "100000", "--events", "2000000", "--output", str(tmp_path / "shop")]
    program = [sys.executable, "-m", "cli", *words]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stderr is not None
    assert any('"progress"' in line for line in process.stderr)  # it writes
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in said) == (128 + signal.SIGTERM, False)
    assert not list(tmp_path.iterdir())
