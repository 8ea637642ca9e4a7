"""Heartbeat of the pipeline step that watches a training job, through the object store that both reach; and the error file.

A killed step cannot delete its job, which would hold GPUs on the cluster. So the step writes to an address while it watches, and workers
exit once the heartbeat has stopped; their progress is in the checkpoint.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.errors import LodestarError
from lodestar.io import storage
from lodestar.progress import log_event

TIMEOUT_S, POLL_S = 900.0, 60.0
LAST_BEAT_S = 10.0
WORKER = "worker "
MAX_BYTES = 4096  # the size limit of a container's termination message in Kubernetes


def watch(address: str) -> None:
    """Start a daemon thread that exits this process once the heartbeat at `address` has been silent for TIMEOUT_S.

    The exit code is 0, so that Kubernetes does not restart an abandoned job.
    """
    threading.Thread(target=poll, args=(address, _end), daemon=True).start()


def poll(address: str, end: Callable[[], None]) -> None:
    """Call `end` once the heartbeat has not changed for TIMEOUT_S; time in which the store does not respond does not count."""
    last, last_change_s = read(address), time.monotonic()
    while time.monotonic() - last_change_s < TIMEOUT_S:
        time.sleep(POLL_S)
        now = read(address)
        if now is None or now != last:
            last, last_change_s = now if now is not None else last, time.monotonic()
    log_event("warning", message=f"no heartbeat at {address} for {TIMEOUT_S:.0f} s: the job exits, and its checkpoint is kept")
    end()


def beat(address: str) -> None:
    """Write a heartbeat (the time in ns) to `address`; a store that does not respond is logged and ignored."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        storage.put(str(time.time_ns()).encode(), address)
    except (BotoCoreError, ClientError, LodestarError) as error:
        log_event("warning", message=f"{address} cannot be written: {error}")


@contextmanager
def beating(address: str, every_s: float) -> Iterator[None]:
    """Inside the context, a thread of its own writes a heartbeat to `address` at once and every `every_s` seconds; none if it is empty.

    A caller that waits for a slow server is alive all the same. On leaving, a heartbeat under way is waited for, at most LAST_BEAT_S.
    """
    if not address:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_beat_until, args=(ended, address, every_s), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST_BEAT_S)


def _beat_until(ended: threading.Event, address: str, every_s: float) -> None:
    while True:
        beat(address)
        if ended.wait(every_s):
            return


def read(address: str) -> bytes | None:
    """The last heartbeat, empty if there is none, None if the store does not respond."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return storage.get(address) or b""
    except (BotoCoreError, ClientError, LodestarError):
        return None


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # sys.exit in a thread does not end the process, and a pending collective would block it


@contextmanager
def write_last_error(file: Path | None, rank: int) -> Iterator[None]:
    """Context manager that writes an exception to `file` in one line, unless another worker of this pod has written one, and re-raises."""
    try:
        yield
    except Exception as error:
        if file is not None:
            _write(file, f"{WORKER}{rank}: {_line(error)}")
        raise


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, LodestarError) else f"{type(error).__name__}: {text}"


def _write(file: Path, line: str) -> None:
    try:
        if not file.exists() or file.stat().st_size == 0:
            file.write_bytes(line.encode()[: MAX_BYTES - 1] + b"\n")
    except OSError as error:
        sys.stderr.write(f"{file} cannot be written: {error}\n")
