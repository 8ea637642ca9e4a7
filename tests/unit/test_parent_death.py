"""A process that was started to help ends with the one that it helps."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")
CHILD = "import time; print('up', flush=True); time.sleep(600)"
PARENT = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-m", "lodestar.process.parent_death", str(os.getpid()), "-c", {CHILD!r}], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode(), flush=True)
child.wait()
"""
STARTER = """
import multiprocessing, os, sys, time
from lodestar.process.parent_death import end_with_starter

def work():
    end_with_starter()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    child = multiprocessing.get_context(sys.argv[1]).Process(target=work)
    child.start()
    child.join()
"""
LIMIT_S = 30


def test_a_process_ends_with_its_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[0])
        parent.kill()
    assert waited(lambda: not is_there(child))


def test_one_whose_parent_has_gone_already_does_not_begin() -> None:
    done = subprocess.run([sys.executable, "-m", "lodestar.process.parent_death", "1", "-c", CHILD], check=False)
    assert done.returncode == -signal.SIGTERM


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_process_of_multiprocessing_ends_with_the_one_that_started_it(method: str, tmp_path: Path) -> None:
    (tmp_path / "starter.py").write_text(STARTER)
    with subprocess.Popen([sys.executable, str(tmp_path / "starter.py"), method], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        starter.kill()
    assert waited(lambda: not is_there(child))


def waited(found: Callable[[], T]) -> T:
    """What is found at last, or was not until the time was over."""
    deadline_s = time.monotonic() + LIMIT_S
    while not (last := found()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return last


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
        with open(f"/proc/{process}/stat") as about:  # one that nobody has asked about yet is no longer there either
            return about.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
