"""Why a training job failed, in the words of the worker that failed first.

torchrun ends what a worker prints with a page of its own, and the others of a job complain of the one that is gone: neither is the cause.
"""

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from lodestar.termination import TERMINATED

OUT_OF_MEMORY = "OOMKilled"
QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)")
KILLED = 137
# An error's last line as Python prints it, or our own: the first word ends as errors do, or the line begins with our program's name.
ERROR_LINE = re.compile(
    r"(\[rank\d+\]:\s*)?(lodestar\.training: |[A-Za-z_][\w.]*(Error|Exception|Interrupt|Fault|Mismatch|Refused|Exit)\b)"
)
AGENT = re.compile(
    r"torch/distributed/(elastic|run)|ChildFailedError|^[=-]{20,}$|failed \(exitcode|closing signal SIG|^(time|exitcode|traceback)\s*: "
)
SIGNAL = re.compile(r"exitcode\s*: -(\d+)")
# What the others say when one of them is gone.
CONSEQUENCE = re.compile(
    r"E536|Connection (closed|reset)|Broken pipe|[Gg]loo|NCCL|ProcessGroup|Rendezvous|Dist(Network|Store)Error|TCPStore|SignalException"
)


@dataclass(frozen=True, kw_only=True)
class End:
    """How a pod's container ended once; `message` is what it left in its error file, or the end of its log."""

    at: datetime
    exit_code: int
    reason: str
    message: str
    is_before: bool  # it was started again since


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A worker's pod; `reason` says why its node ended it, if that did: an eviction, a preemption, a shutdown."""

    name: str
    created: datetime
    memory: str
    ends: tuple[End, ...]
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed worker; `line` is its own."""

    pod: Pod
    end: End
    line: str

    @property
    def is_out_of_memory(self) -> bool:
        """Whether the worker ran out of memory: OOMKilled, or SIGKILL without an eviction, preemption or shutdown of its node.

        A SIGKILL shows as the container's exit code 137, or as torchrun's exit code -9 in what the worker left.
        """
        was_killed = self.end.exit_code == KILLED or _signal(self.end.message) == signal.SIGKILL
        return self.end.reason == OUT_OF_MEMORY or (was_killed and not self.pod.reason)

    def more_memory(self, asked: str) -> str:
        """Twice the limit at which the pod was ended, or, where it had none, of what the job `asked` for, as Kubernetes writes it."""
        limit = next((found for text in (self.pod.memory, asked) if (found := QUANTITY.fullmatch(text))), None)
        return f"{2 * Decimal(limit[1]):f}{limit[2]}" if limit else ""

    def __str__(self) -> str:
        if self.pod.reason:
            return f"{self.pod.name}: {self.pod.reason}"
        if self.end.reason == OUT_OF_MEMORY:
            return f"{self.pod.name} was {OUT_OF_MEMORY} (exit code {self.end.exit_code}): its limit is {self.pod.memory or 'the node'}"
        if self.is_out_of_memory:
            return (
                f"{self.pod.name} was killed by SIGKILL, as the system does where memory runs out; its limit is {self.pod.memory or 'none'}"
            )
        if number := _signal(self.end.message):
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            return f"{self.pod.name} was ended by {name}" + (f"; the last it said: {self.line}" if self.line else "")
        return f"{self.pod.name}: {self.line or f'it ended with exit code {self.end.exit_code} and said nothing'}"


def cause(failures: Iterable[Failure]) -> Failure | None:
    """The failure that the others follow from: the earliest that is none of their complaints, else the earliest."""
    return min(failures, key=lambda failure: (_is_consequence(failure), failure.end.at), default=None)


def own_line(text: str) -> str:
    """The last line that is an error's, before torchrun speaks; else the last that a worker wrote; empty where there is none."""
    lines = [line.strip() for line in text.splitlines()]
    until = next((place for place, line in enumerate(lines) if AGENT.search(line)), len(lines))
    own = [line for line in lines[:until] if line]
    errors = [line for line in own if ERROR_LINE.match(line)]
    return (errors or own or [""])[-1]


def pod_of(thing: Any, container: str) -> Pod:
    """Of a pod as the kubernetes client has it."""
    status = next((status for status in thing.status.container_statuses or () if status.name == container), None)
    spec = next((part for part in thing.spec.containers if part.name == container), None)
    limits: Mapping[str, str] = (spec.resources.limits if spec is not None and spec.resources is not None else None) or {}
    return Pod(
        name=thing.metadata.name,
        created=thing.metadata.creation_timestamp,
        memory=limits.get("memory", ""),
        ends=tuple(_ends(status)) if status is not None else (),
        reason=" ".join(filter(None, (thing.status.reason, thing.status.message))),
    )


def _ends(status: Any) -> Iterable[End]:
    for state, is_before in ((status.last_state, True), (status.state, False)):
        ended = state.terminated if state is not None else None
        if ended is not None and ended.exit_code != 0:
            yield End(
                at=ended.finished_at,
                exit_code=ended.exit_code,
                reason=ended.reason or "",
                message=ended.message or "",
                is_before=is_before,
            )


def _is_consequence(failure: Failure) -> bool:
    return failure.end.exit_code == TERMINATED or (not failure.is_out_of_memory and CONSEQUENCE.search(failure.line) is not None)


def _signal(message: str) -> int:
    found = SIGNAL.search(message)
    return int(found[1]) if found else 0
