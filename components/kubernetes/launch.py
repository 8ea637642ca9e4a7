"""Launcher of training jobs: create a job on the cluster, watch it to its end, forward its logs, and clean up after failures."""

import sys
import time
from collections import deque
from dataclasses import dataclass

from components.kubernetes.training_api import KINDS, JobClient, Object, conditions, connect
from components.kubernetes.training_job import SPEC, TrainingJob, manifest
from components.kubernetes.worker_failures import Termination, WorkerFailure, WorkerPod, last_error_line, root_cause
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.process.termination import undo_on_termination
from lodestar.progress import log_event
from lodestar.training.distributed.heartbeat import TIMEOUT_S, WORKER, beating
from serving.rollout.api_errors import Unreachable

PENDING_S, POLL_S = 900.0, 2.0
# A step gives up its job after the API server has been unreachable for this time.
UNREACHABLE_S = 600.0
# Shorter than `lodestar.training.distributed.heartbeat.SILENT_S`, after which a job without heartbeats ends itself.
BEAT_S = 60.0
TAIL_LINES = 20
NOT_REACHED = {"E596", "E597"}  # a starting API server also refuses requests


class JobUnreachable(Exception):
    """A job that may exist and cannot be watched."""


@dataclass(frozen=True, kw_only=True)
class FollowTimeouts:
    """Timeouts of the launcher in seconds: for scheduling, for an unreachable API server, and between polls."""

    pending_s: float = PENDING_S
    unreachable_s: float = UNREACHABLE_S
    poll_s: float = POLL_S


def launch(job: TrainingJob) -> None:
    """Create the job, or adopt the same one created before, and return when it has succeeded.

    Raises EnvironmentFault E532 if it fails, E590 if a worker ran out of memory, both with the error of the worker that failed first; E531
    if it stays pending; E533 or E595 if another job has its name; E537 if a permission is missing, before anything is created; E598 if the
    cluster has no such kind of job. A job that cannot be watched is deleted (E591); a terminated launcher deletes its job.
    """
    follow(connect(job.namespace, job.kind), job)


def follow(server: JobClient, job: TrainingJob, timeouts: FollowTimeouts | None = None) -> None:
    """`launch` with a given API client."""
    server.check_rights()
    with undo_on_termination(lambda: _abandon(server, job)):
        try:
            start(server, job)
            with beating(job.heartbeat, BEAT_S):
                _JobWatcher(server, job, timeouts or FollowTimeouts()).wait()
        except JobUnreachable as error:
            raise _delete_unreachable(server, job, error) from error


def start(server: JobClient, job: TrainingJob) -> None:
    """Create the job; an existing one of that name is adopted if it has the same spec and runs, or has succeeded with its bundle."""
    body = manifest(job)
    name, digest = job.name, body["metadata"]["annotations"][SPEC]
    try:
        is_new = server.create(body)
    except Unreachable as error:
        raise JobUnreachable(str(error)) from error  # it may have been created, with only the response lost
    if is_new:
        log_event("job", name=name, state="created", namespace=job.namespace, kind=job.kind, workers=job.workers, gpus=job.gpus)
        return
    other = server.read(name)
    if other["metadata"].get("annotations", {}).get(SPEC) != digest:
        remedy = f"Delete it (`{_delete_command(job)}`), or give this one another name."
        raise EnvironmentFault("E533", f"another training job has the name {name}", remedy=remedy)
    found = conditions(other)
    is_over = "deletionTimestamp" in other["metadata"] or "Failed" in found
    if not is_over and (KINDS[job.kind].succeeded not in found or storage.resolve(job.bundle) != job.bundle):
        log_event("job", name=name, state="adopted")
        return
    server.delete(name)
    if not server.create(body):
        raise EnvironmentFault("E595", f"training job {name} is still being deleted", remedy="Try again in a minute.")
    log_event("job", name=name, state="created again")


class _JobWatcher:
    """Polls a job until it has ended."""

    def __init__(self, server: JobClient, job: TrainingJob, timeouts: FollowTimeouts) -> None:
        self._server, self._job, self._timeouts = server, job, timeouts
        self._forwarder = _LogForwarder(server, job.name)

    def wait(self) -> None:
        deadline = time.monotonic() + self._timeouts.pending_s
        while True:
            found = conditions(self._read())
            self._forwarder.forward()
            if KINDS[self._job.kind].succeeded in found:
                log_event("job", name=self._job.name, state="succeeded")
                return
            if "Failed" in found:
                raise self._failed(found["Failed"])
            if found.keys() & {"Running", "Suspended"}:
                deadline = time.monotonic() + self._timeouts.pending_s
            if time.monotonic() > deadline:
                raise self._delete_pending()
            time.sleep(self._timeouts.poll_s)

    def _delete_pending(self) -> EnvironmentFault:
        """Delete a job that was not scheduled in time; raises JobUnreachable if it cannot be deleted."""
        message = f"training job {self._job.name} was pending for {self._timeouts.pending_s:.0f} s{self._forwarder.tail()}"
        try:
            self._server.delete(self._job.name)
        except EnvironmentFault as error:
            raise JobUnreachable(f"{message}\n{error}") from error
        return EnvironmentFault("E531", message, remedy="It was deleted. Free resources or request less, and run the same step again.")

    def _read(self) -> Object:
        """Current state of the job; raises JobUnreachable if the API server fails for too long (a starting one also refuses requests)."""
        deadline = time.monotonic() + self._timeouts.unreachable_s
        while True:
            try:
                return self._server.read(self._job.name)
            except EnvironmentFault as error:
                if error.code not in NOT_REACHED:
                    raise
                if time.monotonic() > deadline:
                    raise JobUnreachable(str(error)) from error
                log_event("warning", message=str(error))
            time.sleep(self._timeouts.poll_s)

    def _failed(self, reason: str) -> EnvironmentFault:
        first = root_cause(self._forwarder.failures.values())
        if first is None:
            message = f"training job {self._job.name} failed: {reason}{self._forwarder.tail()}"
            return EnvironmentFault("E532", message, remedy=f"{_kubectl_hint(self._job)}.")
        message = f"training job {self._job.name} failed: {first}"
        again = "the same step resumes from the last checkpoint"
        if first.is_out_of_memory:
            size = first.more_memory(self._job.memory)
            options = f"""LODESTAR_TRAINING='{{"memory": "{size}"}}', set_memory_limit on the train task, or a smaller train.batch_tokens"""
            return EnvironmentFault("E590", message, remedy=f"Give its pods more memory: {options}; {again}.")
        return EnvironmentFault("E532", message, remedy=f"{_kubectl_hint(self._job)}; {again}.")


class _LogForwarder:
    """Forwards new log lines of rank zero, warning events and worker failures to standard error, and keeps the last lines."""

    def __init__(self, server: JobClient, name: str) -> None:
        self._server, self._name = server, name
        self._last, self._num_at_last, self._emitted = "", 0, set[str]()
        self._kept: deque[str] = deque(maxlen=TAIL_LINES)
        self.failures: dict[tuple[str, object], WorkerFailure] = {}

    def forward(self) -> None:
        """Forward everything new; an error of the API server is logged once, and the job is watched without its log."""
        try:
            pods = self._server.pods(self._name)
            if pods:
                self._forward_log(self._server.log(pods[0].name))
            for pod in pods:
                for end in pod.terminations:
                    self._record_failure(pod, end)
            for warning in self._server.warnings(self._name):
                self._emit_once(warning)
        except EnvironmentFault as error:
            self._emit_once(str(error))

    def tail(self) -> str:
        """The last forwarded lines, indented, for an error message."""
        return "".join(f"\n  {line}" for line in self._kept)

    def _forward_log(self, log: str) -> None:
        """Forward the lines after the last one; of lines with its timestamp, those beyond the number already forwarded."""
        num_again = self._num_at_last
        for line in log.splitlines():
            stamp, _, text = line.partition(" ")
            if stamp == self._last and num_again:
                num_again -= 1
            elif stamp >= self._last:
                self._num_at_last = self._num_at_last + 1 if stamp == self._last else 1
                self._last = stamp
                self._emit(text)

    def _record_failure(self, pod: WorkerPod, end: Termination) -> None:
        """Record why a worker failed while its pod exists: the operator deletes the pods of a failed job."""
        key = (pod.name, end.at)
        if key in self.failures:
            return
        line = end.message.partition("\n")[0] if end.message.startswith(WORKER) else last_error_line(end.message)
        self.failures[key] = WorkerFailure(pod=pod, termination=end, line=line)
        if not end.message.startswith(WORKER):
            log = self._server.log(pod.name, is_before=end.is_before)
            line = last_error_line("\n".join(text.partition(" ")[2] for text in log.splitlines())) or line
            self.failures[key] = WorkerFailure(pod=pod, termination=end, line=line)
        self._emit(str(self.failures[key]))

    def _emit_once(self, text: str) -> None:
        if text not in self._emitted:
            self._emitted.add(text)
            self._emit(text)

    def _emit(self, text: str) -> None:
        self._kept.append(text)
        sys.stderr.write(text + "\n")


def _delete_unreachable(server: JobClient, job: TrainingJob, why: JobUnreachable) -> EnvironmentFault:
    """Delete a job that cannot be watched; the error has the command to type if that fails too."""
    message = f"training job {job.name} cannot be watched ({why})"
    try:
        server.delete(job.name, wait=False)
    except EnvironmentFault as error:
        remedy = f"Delete it: `{_delete_command(job)}`. Without a step that watches it, it ends within {TIMEOUT_S / 60:.0f} minutes."
        return EnvironmentFault("E591", f"{message}, nor deleted ({error})", remedy=remedy)
    return EnvironmentFault("E591", f"{message}, and was deleted", remedy="Run the same step again: it resumes from the last checkpoint.")


def _abandon(server: JobClient, job: TrainingJob) -> None:
    """Delete the job of a terminating launcher, without waiting until it is gone."""
    try:
        server.delete(job.name, wait=False)
    except EnvironmentFault as error:
        sys.stderr.write(f"{error}\nDelete the job: {_delete_command(job)}\n")
        return
    log_event("job", name=job.name, state="deleted")


def _delete_command(job: TrainingJob) -> str:
    return f"kubectl -n {job.namespace} delete {job.kind.lower()} {job.name}"


def _kubectl_hint(job: TrainingJob) -> str:
    return f"See `kubectl -n {job.namespace} describe {job.kind.lower()} {job.name}`"
