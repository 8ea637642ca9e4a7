"""Limits over all connections of a process, and load shedding beyond them.

Limits of one connection are in `serving.http.http_protocol`; these are the sums. Connections are dropped in this order: idle without a
request yet, then with an incomplete request, then kept alive after a response, each oldest first, so that honest clients are reached last.
A request that is being answered is never dropped.
"""

import asyncio
import resource
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from serving.http.request_limits import BUSY, Refusal

MAX_CONNECTIONS = 2048
MAX_WAITING_BYTES = 32 << 20  # of requests that are incomplete or not answered
MAX_UNREAD_BYTES = 64 << 20  # of responses that clients have not read
REQUEST_BYTES = 4096  # memory overhead of a request
SHED_SHARE, KEPT_SHARE = 1 / 8, 3 / 4
STARTED_TOGETHER = 2  # queued starts per iteration of the event loop
SPARE_FILES = 256  # file descriptors for everything but connections


class Connection(Protocol):
    """A connection as load shedding sees it; the lower its `rank`, the sooner it is dropped."""

    since_s: float
    held_bytes: int
    unread_bytes: int

    @property
    def rank(self) -> int | None:
        """Order in which connections are dropped, lowest first; None while a request is being answered."""

    def refuse(self, refusal: Refusal) -> None:
        """Send an error response behind the pending responses, then close."""

    def drop(self, reason: str) -> None:
        """Close without a response; `reason` is the label of the metric."""


class Load:
    """Load of one process: its connections, bytes in memory, and whether it is draining.

    `refused` is called with the reason of each refused or dropped connection; `has_operators`: health and metrics have their own port.
    """

    def __init__(self, refused: Callable[[str], Any] = str, *, has_operators: bool = False) -> None:
        self.refused, self.has_operators = refused, has_operators
        self.is_draining = False
        self.connections: set[Connection] = set()
        self.most_connections = MAX_CONNECTIONS
        self.waiting_bytes = self.unread_bytes = 0
        self._later: deque[Callable[[], Any]] = deque()

    def run_later(self, start: Callable[[], Any]) -> None:
        """Queue a callback, such as the start of a pipelined request; a few run in each iteration of the event loop."""
        if not self._later:
            asyncio.get_running_loop().call_soon(self._run_some)
        self._later.append(start)

    def _run_some(self) -> None:
        for _ in range(min(len(self._later), STARTED_TOGETHER)):
            self._later.popleft()()
        if self._later:
            asyncio.get_running_loop().call_soon(self._run_some)

    def make_room(self, accepted: Connection) -> bool:
        """Drop an eighth of the connections, so that this is rare; False if none may be dropped."""
        found = [(rank, one.since_s, one) for one in self.connections if one is not accepted and (rank := one.rank) is not None]
        found.sort(key=lambda one: one[:2])
        for _, _, connection in found[: max(1, int(self.most_connections * SHED_SHARE))]:
            connection.drop("connections")
        return bool(found)

    @property
    def is_too_full(self) -> bool:
        """Whether incomplete and unanswered requests hold more than 32 MiB in all."""
        return self.waiting_bytes > MAX_WAITING_BYTES

    def shed_waiting(self) -> bool:
        """Refuse incomplete requests, oldest first, until three quarters of the limit are held; False if it is still exceeded."""
        for connection in sorted((one for one in self.connections if one.held_bytes), key=lambda one: one.since_s):
            if self.waiting_bytes <= MAX_WAITING_BYTES * KEPT_SHARE:
                break
            if connection.rank is not None:
                connection.refuse(BUSY)
        return not self.is_too_full

    def shed_unread(self) -> None:
        """Drop connections with unread responses, oldest first, until three quarters of the limit are held."""
        for connection in sorted((one for one in self.connections if one.unread_bytes), key=lambda one: one.since_s):
            if self.unread_bytes <= MAX_UNREAD_BYTES * KEPT_SHARE:
                return
            connection.drop("unread")


def allow_connections() -> int:
    """Raise the limit of file descriptors as far as the system allows, and return the maximum number of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + SPARE_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(MAX_CONNECTIONS, max(soft - SPARE_FILES, 1))
