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

from lodestar.process.environment_variables import PARENT as PARENT_VARIABLE
from lodestar.process.termination import TERMINATED

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
# With as many files open as a process of many connections has; then the context is left, and entered again.
STEP = """
import os, resource, sys, threading, time
limit = min(2048, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
from lodestar.process.descendants import exit_on_sigterm
for _ in range(20):
    with exit_on_sigterm():
        pass
assert threading.active_count() == 1, threading.enumerate()
assert len(os.listdir("/proc/self/fd")) < 1110
if sys.argv[1] == "outside":
    print("up", flush=True)
    time.sleep(600)
with exit_on_sigterm():
    print("up", flush=True)
    time.sleep(600)
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


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_step_ends_with_the_run_that_started_it_as_long_as_it_is_asked_to(where: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as run:
        environment = {**os.environ, PARENT_VARIABLE: str(run.pid)}
        with subprocess.Popen([sys.executable, "-c", STEP, where], env=environment, stdout=subprocess.PIPE, text=True) as step:
            assert step.stdout is not None
            assert step.stdout.readline() == "up\n"
            run.kill()
            run.wait()
            if where == "inside":
                assert step.wait(LIMIT_S) == TERMINATED
            else:
                with pytest.raises(subprocess.TimeoutExpired):
                    step.wait(1)
            step.kill()


def test_a_step_whose_run_has_gone_already_does_not_begin() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    done = subprocess.run([sys.executable, "-c", STEP, "inside"], env={**os.environ, PARENT_VARIABLE: str(gone.pid)}, check=False)
    assert done.returncode == TERMINATED


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
