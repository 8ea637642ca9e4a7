"""Hostile senders, one kind after another, beside honest callers: memory stays within its budget, and nobody honest is kept out.

The server has one core of its own, everything else the other. Cases are attacks of `ATTACKS`, in order, each upon the predictor and
the collector; a sample's seconds are too few to say how long the slowest hundredth takes, so only the whole drill checks timess.
On a machine that others use, `chrt -f 5 python -m tests.drills load` keeps their work out of the figures.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.contract.conftest import ROOT
from tests.drills.attacks import ATTACKS
from tests.drills.drills import Figures
from tests.factories import small_bundle

MOST_MIB, MOST_P99_MS, MOST_PROBE_MS = 512, 250, 1000
MEMORY = Path("/dev/shm")  # how long a disk takes that others use as well is not to be measured
SECONDS, SAMPLE_SECONDS, LATER_S = 4.0, 1.0, 0.5
STOP_LIMIT_S = 40
EVENT = {"user_id": "u1", "item_id": "i1", "event_type": "view", "event_time": "2024-01-01T12:00:00Z"}
# Of each server: the path that bodies are posted to, and what honest callers ask.
SERVERS: dict[str, tuple[str, list[str]]] = {
    "serve": ("/v1/models/recommend:predict", ["GET", "/v1/recommend?user=u1&k=10"]),
    "collect": ("/v1/events", ["POST", "/v1/events", json.dumps(EVENT)]),
}


def drill(_seed: int, cases: int) -> Figures:
    """AssertionError where an honest request is lost or late, a probe is, or a server takes more memory than its budget."""
    is_whole = cases == len(ATTACKS)
    figures: dict[str, object] = {}
    for server, (path, honest) in SERVERS.items():
        with started(server) as (process, port):
            for attack in list(ATTACKS)[:cases]:
                seen = attacked(attack, port, path, honest, SECONDS if is_whole else SAMPLE_SECONDS)
                figures[f"{server} {attack}"] = seen
                assert seen["lost"] == [], (server, attack, seen)
                assert not is_whole or (seen["p99_ms"] <= MOST_P99_MS and seen["slowest_probe_ms"] <= MOST_PROBE_MS), (server, attack, seen)
                seen["most_mib"] = most_mib(process.pid)
                assert seen["most_mib"] <= MOST_MIB, (server, attack, seen)
    return figures


def attacked(attack: str, port: int, path: str, honest: Sequence[str], seconds: float) -> dict[str, Any]:
    """What honest callers saw from a little after an attack begins to its end."""
    command = [sys.executable, "-m", "tests.drills.attacks", attack, str(port), str(seconds + LATER_S), path]
    attacker = subprocess.Popen(command, cwd=ROOT, preexec_fn=_elsewhere)  # noqa: PLW1509  # no threads are running
    try:
        watch = [sys.executable, "-m", "tests.drills.honest_callers", str(port), str(seconds), *honest]
        done = subprocess.run(watch, cwd=ROOT, preexec_fn=_on_last_core, capture_output=True, text=True, check=True)
    finally:
        attacker.kill()
        attacker.wait()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def most_mib(pid: int) -> int:
    """The most memory that a process has ever had resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) >> 10


@contextmanager
def started(server: str) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """A server on the first core."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        if server == "serve":
            options = ["-m", "serving", "--bundle", str(small_bundle(Path(folder, "bundle"), num_items=1000)), "--port", "0"]
        else:
            options = ["-m", "serving.collector", "--output", str(Path(folder, "landing")), "--port", "0"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
        process = subprocess.Popen(
            [sys.executable, *options],
            cwd=ROOT,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_on_first_core,  # noqa: PLW1509  # there are no threads
        )
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://[^/]+:(\d+)", line)
            assert found is not None, line
            _let_threads_in(process, found[0], SERVERS[server][1])
            yield process, int(found[1])
            process.terminate()
            _, said = process.communicate(timeout=STOP_LIMIT_S)
            assert (process.returncode, said) == (0, "")
        finally:
            process.kill()
            process.communicate()


def _let_threads_in(process: "subprocess.Popen[str]", address: str, honest: Sequence[str]) -> None:
    """After a first request, by which they are all there, a server's other threads go before its event loop.

    Under SCHED_FIFO they would otherwise wait until that has nothing to do, which is so on no machine that is not shared.
    """
    method, path, *rest = honest
    httpx.request(method, f"{address}{path}", content="".join(rest))
    if os.sched_getscheduler(0) == os.SCHED_FIFO:
        parameters = os.sched_param(os.sched_getparam(0).sched_priority + 1)
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            if int(thread) != process.pid:
                os.sched_setscheduler(int(thread), os.SCHED_FIFO, parameters)


def _on_first_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _on_last_core() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _elsewhere() -> None:
    """With the honest, who go first: how long they wait for the processor is not to be measured."""
    _on_last_core()
    policy = os.sched_getscheduler(0)
    if policy == os.SCHED_FIFO:
        os.sched_setscheduler(0, policy, os.sched_param(os.sched_getparam(0).sched_priority - 1))
    else:
        os.nice(10)
