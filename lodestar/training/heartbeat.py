"""Heartbeat of the step that follows a training job, by way of the store that both reach.

A step that is killed cannot delete its job, and a job on a cluster holds GPUs that others wait for: so the step writes to an address
as long as it follows, and workers that see no heartbeat any more end. What they had trained is in the checkpoint.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar import storage
from lodestar.errors import LodestarError
from lodestar.progress import log_event

SILENT_S, LOOK_S = 900.0, 60.0
WORKER = "worker "
MOST_BYTES = 4096  # Kubernetes keeps as much of what a container says at its end


def watch(address: str) -> None:
    """From now on, and beside all else, end this process once nobody has written to the address for SILENT_S.

    It ends well (exit code 0), for a job that nobody wants is to be over and not to be restarted.
    """
    threading.Thread(target=look, args=(address, _end), daemon=True).start()


def look(address: str, end: Callable[[], None]) -> None:
    """Call `end` once nobody has written for SILENT_S; a store that does not answer is no silence: time counts from its last answer."""
    last, heard_s = content(address), time.monotonic()
    while time.monotonic() - heard_s < SILENT_S:
        time.sleep(LOOK_S)
        now = content(address)
        if now is None or now != last:
            last, heard_s = now if now is not None else last, time.monotonic()
    log_event("warning", message=f"no step has followed this job for {SILENT_S:.0f} s ({address}): it ends, and its checkpoint is kept")
    end()


def beat(address: str) -> None:
    """Write there that this process follows the job; where the store does not answer, the next time will do."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        storage.put(str(time.time_ns()).encode(), address)
    except (BotoCoreError, ClientError, LodestarError) as error:
        log_event("warning", message=f"{address} cannot be written: {error}")


def content(address: str) -> bytes | None:
    """What is written there, empty where nothing is, None where the store does not answer."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return storage.get(address) or b""
    except (BotoCoreError, ClientError, LodestarError):
        return None


def _end() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # from a thread, and with a collective under way that would never end


@contextmanager
def last_line_kept(file: Path | None, rank: int) -> Iterator[None]:
    """Whatever error ends what is inside is written to `file`, in one line, if no other worker of this pod was before it."""
    try:
        yield
    except Exception as error:
        if file is not None:
            _write(file, f"{WORKER}{rank}: {_line(error)}")
        raise


def _line(error: Exception) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, LodestarError) else f"{type(error).__name__}: {said}"


def _write(file: Path, line: str) -> None:
    try:
        if not file.exists() or file.stat().st_size == 0:
            file.write_bytes(line.encode()[: MOST_BYTES - 1] + b"\n")
    except OSError as error:
        sys.stderr.write(f"{file} cannot be written: {error}\n")
