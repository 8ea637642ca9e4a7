"""Nothing is sent anywhere unasked: the system calls of whole processes, of which none may reach beyond this machine.

Cases are the programs of `PROGRAMS`, in order. The whole drill leaves servers up for longer than a reporting library waits before it looks
its maker up; the sample sees what such a library leaves in an empty home as it is imported.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from tests.contract.conftest import ROOT
from tests.drills.drills import Figures
from tests.factories import small_bundle
from tests.pipeline.test_run import chains, write

CALLS = "connect,sendto,sendmsg,sendmmsg"
INTERNET = re.compile(r"sa_family=AF_INET6?,")
LOOPBACK = re.compile(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.[^"]*)"')
REPORTER_WAITS_S = 45
RUN_LIMIT_S, STOP_LIMIT_S = 500, 30
EVENT = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "event_time": "2024-01-01T12:00:00Z"}


def drill(_seed: int, cases: int) -> Figures:
    """AssertionError where a program sends something beyond the loopback interface or leaves a file in its user's home."""
    wait_s = REPORTER_WAITS_S if cases == len(PROGRAMS) else 0
    calls = {}
    for name, program in list(PROGRAMS.items())[:cases]:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder, "home")
            home.mkdir()
            trace = Path(folder, "trace")
            program(Path(folder), ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(trace), sys.executable], wait_s)
            lines = trace.read_text().splitlines()
            assert (beyond := beyond_this_machine(lines)) == [], (name, beyond[:5])
            assert (left := [str(path) for path in home.rglob("*") if path.is_file()]) == [], (name, left)
            calls[name] = len(lines)
    return {"calls": calls, "beyond_this_machine": 0, "waited_s": wait_s}


def beyond_this_machine(lines: Sequence[str]) -> list[str]:
    """The system calls, as strace writes them, that name an internet address which is not the loopback interface's."""
    return [line for line in lines if INTERNET.search(line) and not LOOPBACK.search(line)]


def serve(folder: Path, tracer: list[str], wait_s: float) -> None:
    bundle = small_bundle(folder / "bundle")
    options = ["-m", "serving", "--bundle", str(bundle), "--port", "0", "--impressions", str(folder / "log.jsonl")]
    _served([*tracer, *options], folder, wait_s, lambda address: httpx.get(f"{address}/v1/recommend?user=u1"))


def collect(folder: Path, tracer: list[str], wait_s: float) -> None:
    options = ["-m", "serving.collector", "--output", str(folder / "landing"), "--port", "0"]
    _served([*tracer, *options], folder, wait_s, lambda address: httpx.post(f"{address}/v1/events", content=json.dumps([EVENT])))


def run(folder: Path, tracer: list[str], _wait_s: float) -> None:
    """The whole pipeline, with the processes that it starts."""
    program = "import sys; from cli.main import main; sys.exit(main())"
    data = write(folder / "events.csv", chains())
    command = [*tracer, "-c", program, "run", "--data", str(data), "--recipe", "tiny", "--output", str(folder / "out"), "--json"]
    done = subprocess.run(command, env=_environment(folder), capture_output=True, text=True, timeout=RUN_LIMIT_S, check=False)
    assert done.returncode in {0, 4}, done.stderr  # the gate may well refuse so small a model


PROGRAMS: dict[str, Callable[[Path, list[str], float], None]] = {"serve": serve, "collect": collect, "run": run}


def _served(command: list[str], folder: Path, wait_s: float, ask: Callable[[str], httpx.Response]) -> None:
    """Start a server, ask it, let it be, and stop it."""
    tracer = subprocess.Popen(command, env=_environment(folder), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    server = 0
    try:
        assert tracer.stderr is not None
        line = tracer.stderr.readline()
        server = int(Path(f"/proc/{tracer.pid}/task/{tracer.pid}/children").read_text().split()[0])
        found = re.search(r"http://[^/]+", line)
        assert found is not None, line
        assert ask(found[0]).status_code < 300
        time.sleep(wait_s)
        os.kill(server, signal.SIGTERM)
        _, said = tracer.communicate(timeout=STOP_LIMIT_S)
        assert (tracer.returncode, said) == (0, "")
    finally:
        if tracer.poll() is None:
            if server:
                os.kill(server, signal.SIGKILL)
            tracer.kill()
            tracer.communicate()


def _environment(folder: Path) -> dict[str, str]:
    """Ours without what would turn reports off already, and a home in which nothing lies."""
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY" and not name.startswith("XDG_")}
    return {**kept, "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
