"""A collector as a process, and what it has published to its landing."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.contract.conftest import ROOT, STOP_LIMIT_S

WAIT_S = 60


class CollectorProcess:
    """A process of ours; `before` is what it does before anything else."""

    def __init__(self, *options: str | Path, before: str = "pass") -> None:
        program = f"import sys; {before}; from serving.collector.__main__ import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, *(["-m", "serving.collector"] if before == "pass" else ["-c", program]), *map(str, options)]
        # Feast, in the process of the tests, has told its children where to keep the values of their metrics.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS_")}
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)

    @cached_property
    def address(self) -> str:
        """Where it listens, from the line that it says when it does."""
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://[^/]+", line)
        assert found is not None, line + self.process.stderr.read()
        return found[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what was said since it listens."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=STOP_LIMIT_S)
        return self.process.returncode, said


@contextmanager
def collecting(*options: str | Path, before: str = "pass") -> Iterator[CollectorProcess]:
    """A collector that is gone at the end."""
    process = CollectorProcess(*options, before=before)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.communicate()


def rows_in(landing: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table's parts, in the order of the parts' names."""
    parts = sorted((landing / table).glob("part-*.jsonl.gz"))
    return [json.loads(line) for part in parts for line in gzip.decompress(part.read_bytes()).splitlines()]


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when it holds; it must before long."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
