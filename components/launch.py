"""Start a training job on the cluster, follow it to its end, and leave nothing of it behind."""

import sys
import time
from collections import deque
from dataclasses import dataclass

from components.job_pods import End, Failure, Pod, cause, own_line
from components.job_server import KINDS, JobServer, Object, Unreachable, conditions, connect
from components.jobs import SPEC, TrainingJob, manifest
from lodestar import storage
from lodestar.errors import EnvironmentFault
from lodestar.progress import log_event
from lodestar.termination import undo_on_termination
from lodestar.training.heartbeat import SILENT_S, WORKER, beat

PENDING_S, POLL_S = 900.0, 2.0
# The API server may be away for as long before a step gives its job up.
LOST_S = 600.0
# Shorter than `lodestar.training.heartbeat.SILENT_S`, after which a job ends that no step writes to.
BEAT_S = 60.0
SHOWN_LINES = 20


class Lost(Exception):
    """A job that may be there and cannot be followed."""


@dataclass(frozen=True, kw_only=True)
class FollowTimeouts:
    """How long a launcher waits: for a place to run, for an API server that is away, and between two looks."""

    pending_s: float = PENDING_S
    lost_s: float = LOST_S
    poll_s: float = POLL_S


def launch(job: TrainingJob) -> None:
    """Start the job, or take over the same one started before, and return when it has succeeded.

    EnvironmentFault E532 where it fails, E590 where a worker ran out of memory, with the line of the worker that failed first; E531 where
    it finds no place to run; E533 where another job has its name; E537 where a right is missing, before anything is made; E539 where the
    cluster has no such kind of job. A job that cannot be followed is deleted (E591), and a terminated launcher takes its job with it.
    """
    follow(connect(job.namespace, job.kind), job)


def follow(server: JobServer, job: TrainingJob, timeouts: FollowTimeouts | None = None) -> None:
    """What `launch` does, on a given server."""
    server.check_rights()
    with undo_on_termination(lambda: _abandon(server, job)):
        try:
            start(server, job)
            _JobWatcher(server, job, timeouts or FollowTimeouts()).until_it_ends()
        except Lost as error:
            raise _given_up(server, job, error) from error


def start(server: JobServer, job: TrainingJob) -> None:
    """Create the job; one of the same name is adopted where it is the same job, still runs, or has ended with its bundle."""
    body = manifest(job)
    name, digest = job.name, body["metadata"]["annotations"][SPEC]
    try:
        is_new = server.create(body)
    except Unreachable as error:
        raise Lost(str(error)) from error  # it may have been created, and only the answer was lost
    if is_new:
        log_event("job", name=name, state="created", namespace=job.namespace, kind=job.kind, workers=job.workers, gpus=job.gpus)
        return
    other = server.read(name)
    if other["metadata"].get("annotations", {}).get(SPEC) != digest:
        remedy = f"Delete it (`{_delete_command(job)}`), or give this one another name."
        raise EnvironmentFault("E533", f"another training job is called {name}", remedy=remedy)
    facts = conditions(other)
    is_over = "deletionTimestamp" in other["metadata"] or "Failed" in facts
    if not is_over and (KINDS[job.kind].succeeded not in facts or storage.resolve(job.bundle) != job.bundle):
        log_event("job", name=name, state="taken over")
        return
    server.delete(name)
    if not server.create(body):
        raise EnvironmentFault("E533", f"training job {name} is still being deleted", remedy="Try again in a minute.")
    log_event("job", name=name, state="created again")


class _JobWatcher:
    """Looks at a job until it has ended."""

    def __init__(self, server: JobServer, job: TrainingJob, timeouts: FollowTimeouts) -> None:
        self._server, self._job, self._timeouts = server, job, timeouts
        self._relay, self._due = _Relay(server, job.name), 0.0

    def until_it_ends(self) -> None:
        deadline = time.monotonic() + self._timeouts.pending_s
        while True:
            facts = conditions(self._read())
            self._relay.pass_on()
            if KINDS[self._job.kind].succeeded in facts:
                log_event("job", name=self._job.name, state="succeeded")
                return
            if "Failed" in facts:
                raise self._failed(facts["Failed"])
            if facts.keys() & {"Running", "Suspended"}:
                deadline = time.monotonic() + self._timeouts.pending_s
            if time.monotonic() > deadline:
                raise self._pending()
            time.sleep(self._timeouts.poll_s)

    def _pending(self) -> EnvironmentFault:
        """Of a job that is deleted for want of a place; Lost where it cannot be deleted."""
        message = f"training job {self._job.name} was pending for {self._timeouts.pending_s:.0f} s{self._relay.tail()}"
        try:
            self._server.delete(self._job.name)
        except EnvironmentFault as error:
            raise Lost(f"{message}\n{error}") from error
        return EnvironmentFault("E531", message, remedy="It was deleted; make room, or ask for less, and the same step starts it again.")

    def _read(self) -> Object:
        """The job as it is now; Lost where the API server is away, or refuses, for too long: one that starts refuses for a while."""
        deadline = time.monotonic() + self._timeouts.lost_s
        while True:
            self._beat()
            try:
                return self._server.read(self._job.name)
            except EnvironmentFault as error:
                if error.code != "E534":
                    raise
                if time.monotonic() > deadline:
                    raise Lost(str(error)) from error
                log_event("warning", message=str(error))
            time.sleep(self._timeouts.poll_s)

    def _beat(self) -> None:
        """Tell the job that it is followed."""
        if self._job.heartbeat and time.monotonic() >= self._due:
            beat(self._job.heartbeat)
            self._due = time.monotonic() + BEAT_S

    def _failed(self, said: str) -> EnvironmentFault:
        first = cause(self._relay.failures.values())
        if first is None:
            message = f"training job {self._job.name} failed: {said}{self._relay.tail()}"
            return EnvironmentFault("E532", message, remedy=f"{_see(self._job)}.")
        message = f"training job {self._job.name} failed: {first}"
        again = "the same step goes on from the last checkpoint"
        if first.is_out_of_memory:
            size = first.more_memory(self._job.memory)
            more = f"""LODESTAR_TRAINING='{{"memory": "{size}"}}', set_memory_limit on the train task, or a smaller train.batch_tokens"""
            return EnvironmentFault("E590", message, remedy=f"Give its pods more: {more}; {again}.")
        return EnvironmentFault("E532", message, remedy=f"{_see(self._job)}; {again}.")


class _Relay:
    """Passes on what is new in the leader's log, among the job's warnings and of failed workers, and keeps the end of it."""

    def __init__(self, server: JobServer, name: str) -> None:
        self._server, self._name = server, name
        self._last, self._said = "", set[str]()
        self._kept: deque[str] = deque(maxlen=SHOWN_LINES)
        self.failures: dict[tuple[str, object], Failure] = {}

    def pass_on(self) -> None:
        """What cannot be read is said once: a job whose log is not to be had is followed all the same."""
        try:
            pods = self._server.pods(self._name)
            if pods:
                self._pass_log(self._server.log(pods[0].name))
            for pod in pods:
                for end in pod.ends:
                    self._note(pod, end)
            for warning in self._server.warnings(self._name):
                self._say_once(warning)
        except EnvironmentFault as error:
            self._say_once(str(error))

    def tail(self) -> str:
        """The last lines, each on a line of its own."""
        return "".join(f"\n  {line}" for line in self._kept)

    def _pass_log(self, log: str) -> None:
        for line in log.splitlines():
            stamp, _, text = line.partition(" ")
            if stamp > self._last:
                self._last = stamp
                self._say(text)

    def _note(self, pod: Pod, end: End) -> None:
        """Keep why a worker failed while its pod is there: an operator that gives a job up deletes them."""
        key = (pod.name, end.at)
        if key in self.failures:
            return
        line = end.message.partition("\n")[0] if end.message.startswith(WORKER) else own_line(end.message)
        self.failures[key] = Failure(pod=pod, end=end, line=line)
        if not end.message.startswith(WORKER):
            log = self._server.log(pod.name, is_before=end.is_before)
            line = own_line("\n".join(text.partition(" ")[2] for text in log.splitlines())) or line
            self.failures[key] = Failure(pod=pod, end=end, line=line)
        self._say(str(self.failures[key]))

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _say(self, text: str) -> None:
        self._kept.append(text)
        sys.stderr.write(text + "\n")


def _given_up(server: JobServer, job: TrainingJob, why: Lost) -> EnvironmentFault:
    """Nobody follows the job any more: it is deleted, or whoever reads this has to."""
    message = f"training job {job.name} cannot be followed ({why})"
    try:
        server.delete(job.name, wait=False)
    except EnvironmentFault as error:
        remedy = f"Delete it: `{_delete_command(job)}`. Without a step that follows it, it ends within {SILENT_S / 60:.0f} minutes."
        return EnvironmentFault("E591", f"{message}, nor deleted ({error})", remedy=remedy)
    return EnvironmentFault("E591", f"{message}, and was deleted", remedy="The same step starts it again, from the last checkpoint.")


def _abandon(server: JobServer, job: TrainingJob) -> None:
    """Delete the job of a launcher that is ending; there is no time to wait until it is gone."""
    try:
        server.delete(job.name, wait=False)
    except EnvironmentFault as error:
        sys.stderr.write(f"{error}\nDelete the job: {_delete_command(job)}\n")
        return
    log_event("job", name=job.name, state="deleted")


def _delete_command(job: TrainingJob) -> str:
    return f"kubectl -n {job.namespace} delete {job.kind.lower()} {job.name}"


def _see(job: TrainingJob) -> str:
    return f"See `kubectl -n {job.namespace} describe {job.kind.lower()} {job.name}`"
