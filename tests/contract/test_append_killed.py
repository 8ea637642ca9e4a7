"""An addition to tables that is killed leaves the rows that were there, or all; made again it is as if it had not been killed."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

from lodestar.data.ingest import append
from tests.unit.test_append import contents, save, views


def test_killed_at_any_time_the_same_again_gives_the_same_tables(tmp_path: Path) -> None:
    first = save(tmp_path / "first.csv", *views(1, "x"))
    second = save(tmp_path / "second.csv", *(row for month in range(1, 13) for row in views(month, *(f"i{item}" for item in range(200)))))
    whole = tmp_path / "whole"
    for path in (first, second):
        append(str(path), whole)
    wanted, before = contents(whole), None
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["lodestar.data.ingest"])
    elapsed_s, killed = min(added_s(processes, second, tmp_path / f"timed {turn}") for turn in range(2)), 0
    for attempt in range(8):
        root = tmp_path / f"killed {attempt}"
        append(str(first), root)
        before = contents(root)
        process = processes.Process(target=append, args=(str(second), root))
        process.start()
        process.join(elapsed_s * (0.1 + 0.11 * attempt))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert contents(root) in (before, wanted)
        append(str(second), root)
        assert contents(root) == wanted
        assert not [name for name in os.listdir(tmp_path) if name.startswith(".killed")]
    assert killed


def added_s(processes: multiprocessing.context.ForkServerContext, file: Path, root: Path) -> float:
    started = time.monotonic()
    process = processes.Process(target=append, args=(str(file), root))
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - started
