"""Root cause of a failed training job: the error line of the worker that failed first.

torchrun appends its own report to a worker's log, and the other workers fail with connection errors: neither is the cause.
"""

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from lodestar.process.termination import TERMINATED

OUT_OF_MEMORY, NODE_LOST = "OOMKilled", "ContainerStatusUnknown"
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")
KILLED = 137
# The last line of a Python traceback (its first word ends like an exception's name), or our own error message.
ERROR_LINE = re.compile(
    r"(\[rank\d+\]:\s*)?(lodestar\.training: |[A-Za-z_][\w.]*(Error|Exception|Interrupt|Fault|Mismatch|Refused|Exit)\b)"
)
AGENT = re.compile(
    r"torch/distributed/(elastic|run)|ChildFailedError|^[=-]{20,}$|failed \(exitcode|closing signal SIG|^(time|exitcode|traceback)\s*: "
)
SIGNAL = re.compile(r"exitcode\s*: -(\d+)")
# Errors of the other workers after one has failed.
CONSEQUENCE = re.compile(
    r"E536|Connection (closed|reset)|Broken pipe|[Gg]loo|NCCL|ProcessGroup|Rendezvous|Dist(Network|Store)Error|TCPStore|SignalException"
)


@dataclass(frozen=True, kw_only=True)
class Termination:
    """One termination of a pod's container; `message` is its termination message: the error file, or the end of its log.

    `at` is None if it is not known, as of a container whose node was lost (reason ContainerStatusUnknown, exit code 137).
    """

    at: datetime | None
    exit_code: int
    reason: str
    message: str
    is_before: bool  # the container was restarted since


@dataclass(frozen=True, kw_only=True)
class WorkerPod:
    """A worker's pod; `reason` is set if its node ended it by eviction, preemption or shutdown."""

    name: str
    created: datetime
    memory: str
    terminations: tuple[Termination, ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerFailure:
    """A failed worker; `line` is its own error line."""

    pod: WorkerPod
    termination: Termination
    line: str

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the worker ran out of memory: OOMKilled, or SIGKILL without an eviction, preemption, shutdown or loss of its node.

        SIGKILL is the container's exit code 137, or torchrun's exit code -9 in the termination message.
        """
        was_killed = self.termination.exit_code == KILLED or _signal(self.termination.message) == signal.SIGKILL
        is_lost = self.termination.reason == NODE_LOST
        return self.termination.reason == OUT_OF_MEMORY or (was_killed and not self.pod.reason and not is_lost)

    def more_memory(self, asked: str) -> str:
        """Twice the pod's memory limit, or, without a limit, twice the request `asked`, as a Kubernetes quantity."""
        limit = next((found for text in (self.pod.memory, asked) if (found := QUANTITY.fullmatch(text))), None)
        return f"{2 * Decimal(limit[1]):f}{limit[2]}" if limit else ""

    def __str__(self) -> str:
        if self.pod.reason:
            return f"{self.pod.name}: {self.pod.reason}"
        if self.termination.reason == OUT_OF_MEMORY:
            limit = self.pod.memory or "the node"
            return f"{self.pod.name} was {OUT_OF_MEMORY} (exit code {self.termination.exit_code}): its limit is {limit}"
        if self.is_out_of_memory:
            return f"{self.pod.name} was killed by SIGKILL, probably out of memory; its limit is {self.pod.memory or 'none'}"
        if number := _signal(self.termination.message):
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            return f"{self.pod.name} was ended by {name}" + (f"; its last line: {self.line}" if self.line else "")
        return f"{self.pod.name}: {self.line or f'it ended with exit code {self.termination.exit_code} without a message'}"


def root_cause(failures: Iterable[WorkerFailure]) -> WorkerFailure | None:
    """The root cause: the earliest failure that is not a consequence of another worker's, else the earliest; None without failures.

    A failure at an unknown time counts as the last one: a worker with an error of its own says more.
    """
    latest = datetime.max.replace(tzinfo=UTC)
    return min(failures, key=lambda failure: (_is_consequence(failure), failure.termination.at or latest), default=None)


def last_error_line(text: str) -> str:
    """The last error line of a worker's log before torchrun's report, else its last line; empty if there is none."""
    lines = [line.strip() for line in text.splitlines()]
    end = next((index for index, line in enumerate(lines) if AGENT.search(line)), len(lines))
    own = [line for line in lines[:end] if line]
    errors = [line for line in own if ERROR_LINE.match(line)]
    return (errors or own or [""])[-1]


def worker_pod(pod: Any, container: str) -> WorkerPod:
    """Worker pod from a V1Pod of the kubernetes client; `container` is the name of its training container."""
    status = next((status for status in pod.status.container_statuses or () if status.name == container), None)
    spec = next((part for part in pod.spec.containers if part.name == container), None)
    limits: Mapping[str, str] = (spec.resources.limits if spec is not None and spec.resources is not None else None) or {}
    return WorkerPod(
        name=pod.metadata.name,
        created=pod.metadata.creation_timestamp,
        memory=limits.get("memory", ""),
        terminations=tuple(_terminations(status)) if status is not None else (),
        reason=" ".join(filter(None, (pod.status.reason, pod.status.message))),
    )


def _terminations(status: Any) -> Iterable[Termination]:
    for state, is_before in ((status.last_state, True), (status.state, False)):
        ended = state.terminated if state is not None else None
        if ended is not None and ended.exit_code != 0:
            yield Termination(
                at=ended.finished_at,
                exit_code=ended.exit_code,
                reason=ended.reason or "",
                message=ended.message or "",
                is_before=is_before,
            )


def _is_consequence(failure: WorkerFailure) -> bool:
    return failure.termination.exit_code == TERMINATED or (not failure.is_out_of_memory and CONSEQUENCE.search(failure.line) is not None)


def _signal(message: str) -> int:
    found = SIGNAL.search(message)
    return int(found[1]) if found else 0
