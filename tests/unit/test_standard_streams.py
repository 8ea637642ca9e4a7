"""Standard output and error that are closed, full or read by nobody end a command as those of a shell end, without a stack trace."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lodestar.exits import CLOSED_PIPE

ROOT = Path(__file__).parents[2]
EVENTS = "user_id,item_id,event_type,event_time\n" + "".join(f"u{n},i1,view,2026-01-01T00:00:0{n}Z\n" for n in range(6))
PROGRAM = "import sys; from cli.main import main; sys.exit(main(sys.argv[1:]))"
Done = subprocess.CompletedProcess[str]


def validate(folder: Path, redirection: str = "", *, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> Done:
    """Validate a file of events in a shell, with its streams where a redirection leads."""
    (folder / "clicks.csv").write_text(EVENTS)
    command = f"{sys.executable} -c '{PROGRAM}' data validate --data {folder}/clicks.csv {redirection}"
    return subprocess.run(["bash", "-c", command], cwd=ROOT, stdout=stdout, stderr=stderr, text=True, check=False)


@pytest.mark.parametrize("is_error", [False, True])
def test_a_pipe_that_nobody_reads_ends_it_quietly(is_error: bool, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = validate(tmp_path, stderr=writer) if is_error else validate(tmp_path, stdout=writer)
    finally:
        os.close(writer)
    assert done.returncode == CLOSED_PIPE
    assert "Traceback" not in (done.stdout or "") + (done.stderr or "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_takes_nothing(closed: str, tmp_path: Path) -> None:
    done = validate(tmp_path, closed)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert ("| events | 6 | 6 |" in done.stdout) == (closed == "2>&-")


def test_an_output_without_space_is_a_coded_error(tmp_path: Path) -> None:
    done = validate(tmp_path, ">/dev/full")
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith("lodestar: E506 the output cannot be written (No space left on device)")
