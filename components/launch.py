"""Start a training job on the cluster, follow it to its end, and leave nothing of it behind."""

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from components.job_server import KINDS, JobServer, Object, conditions, connect
from components.jobs import SPEC, TrainingJob, as_asked, manifest
from lodestar import storage
from lodestar.bundle import INFO
from lodestar.errors import EnvironmentFault
from lodestar.progress import log_event

PENDING_S, POLL_S = 900.0, 2.0
SHOWN_LINES = 20
TERMINATED = 128 + signal.SIGTERM


def launch(job: TrainingJob) -> None:
    """Start the job, or take over the same one started before, and return when it has succeeded.

    EnvironmentFault E532 where it fails, with the last lines of its log; E531 where it finds no place to run; E533 where another
    job has its name. A terminated launcher takes the job with it.
    """
    follow(connect(job.namespace, job.kind), job)


def launch_as_asked(training: str, *, image: str, features: str, bundle: str, recipe: str, overrides: str) -> None:
    """What a step asks for, in words of its own (`components.jobs.as_asked`); EnvironmentFault E532 where the job ends without a bundle."""
    job = as_asked(training, image=image, features=features, bundle=bundle, recipe=recipe, overrides=overrides)
    launch(job)
    if storage.get(f"{storage.resolve(bundle)}/{INFO}") is None:
        raise EnvironmentFault("E532", f"training job {job.name} succeeded and left no bundle at {bundle}", remedy=_see(job))


def follow(server: JobServer, job: TrainingJob, *, pending_s: float = PENDING_S, poll_s: float = POLL_S) -> None:
    """What `launch` does, on a given server."""
    relay = _Relay(server, job.name)
    with _taken_along(server, job.name):
        start(server, manifest(job))
        deadline = time.monotonic() + pending_s
        while True:
            current = server.read(job.name)
            relay.pass_on()
            facts = conditions(current)
            if KINDS[job.kind].succeeded in facts:
                log_event("job", name=job.name, state="succeeded")
                return
            if "Failed" in facts:
                raise EnvironmentFault("E532", f"training job {job.name} failed: {facts['Failed']}{relay.tail()}", remedy=_see(job))
            if facts.keys() & {"Running", "Suspended"}:
                deadline = time.monotonic() + pending_s
            if time.monotonic() > deadline:
                server.delete(job.name)
                raise EnvironmentFault("E531", f"training job {job.name} was pending for {pending_s:.0f} s{relay.tail()}", remedy=_see(job))
            time.sleep(poll_s)


def start(server: JobServer, body: Object) -> None:
    """Create the job; one of the same name is taken over if it is the same job and has not failed."""
    name, digest = body["metadata"]["name"], body["metadata"]["annotations"][SPEC]
    if server.create(body):
        log_event("job", name=name, state="created")
        return
    other = server.read(name)
    if other["metadata"].get("annotations", {}).get(SPEC) != digest:
        raise EnvironmentFault("E533", f"another training job is called {name}", remedy="Delete it, or give this one another name.")
    if "Failed" not in conditions(other):
        log_event("job", name=name, state="taken over")
        return
    server.delete(name)
    if not server.create(body):
        raise EnvironmentFault("E533", f"training job {name} is still being deleted", remedy="Try again in a minute.")
    log_event("job", name=name, state="created again")


def _see(job: TrainingJob) -> str:
    return f"See `kubectl -n {job.namespace} describe {job.kind.lower()} {job.name}`; the same step goes on from the last checkpoint."


class _Relay:
    """Passes on what is new in the leader's log and among the job's warnings, and keeps the end of it."""

    def __init__(self, server: JobServer, name: str) -> None:
        self._server, self._name = server, name
        self._last, self._warned = "", set[str]()
        self._kept: deque[str] = deque(maxlen=SHOWN_LINES)

    def pass_on(self) -> None:
        for line in self._server.log(self._name).splitlines():
            stamp, _, text = line.partition(" ")
            if stamp > self._last:
                self._last = stamp
                self._say(text)
        for warning in self._server.warnings(self._name):
            if warning not in self._warned:
                self._warned.add(warning)
                self._say(warning)

    def tail(self) -> str:
        """The last lines, each on a line of its own."""
        return "".join(f"\n  {line}" for line in self._kept)

    def _say(self, text: str) -> None:
        self._kept.append(text)
        sys.stderr.write(text + "\n")


@contextmanager
def _taken_along(server: JobServer, name: str) -> Iterator[None]:
    """While inside, a termination of this process deletes the job: nobody would follow it any more."""

    def terminate(_signal: int, _frame: FrameType | None) -> Any:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        server.delete(name)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
