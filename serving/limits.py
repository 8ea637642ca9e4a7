"""What all connections of a process may hold together, and which of them go where that is too much.

One caller's share is bounded where it is read (`serving.protocol`); these are the sums. Who goes first is who gives nothing to do: a
connection on which nothing came, then a request that does not arrive whole, then what is kept for later, each oldest first: as
many as there may be make it long before an honest caller's turn comes. A request that is being answered is never given up.
"""

import asyncio
import resource
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from serving.refusals import BUSY, Refusal

MOST_CONNECTIONS = 2048
MOST_WAITING_BYTES = 32 << 20  # of requests that are not whole, or not answered
MOST_UNREAD_BYTES = 64 << 20  # of answers that their callers do not read
REQUEST_BYTES = 4096  # what a request costs besides its own bytes
SHED_SHARE, KEPT_SHARE = 1 / 8, 3 / 4
STARTED_TOGETHER = 2  # of pipelined requests
SPARE_FILES = 256  # for everything that is no connection


class Connection(Protocol):
    """What is asked of a connection here; `rank` is None while it is being answered, and the lower the sooner it goes."""

    since_s: float
    held_bytes: int
    unread_bytes: int

    @property
    def rank(self) -> int | None:
        """Order in which connections are dropped, lowest first; None while a request is being answered."""

    def refuse(self, refusal: Refusal) -> None:
        """Send a refusal behind the responses that are owed, then close."""

    def drop(self, reason: str) -> None:
        """Close without a response; `reason` is the label of the metric."""


class Load:
    """The sums of one process, and what all its applications know of it.

    `refused` is told the reason each time that a caller is refused or dropped; `has_operators` says that health and metrics have a port.
    """

    def __init__(self, refused: Callable[[str], Any] = str, *, has_operators: bool = False) -> None:
        self.refused, self.has_operators = refused, has_operators
        self.is_draining = False
        self.connections: set[Connection] = set()
        self.most_connections = MOST_CONNECTIONS
        self.waiting_bytes = self.unread_bytes = 0
        self._later: deque[Callable[[], Any]] = deque()

    def run_later(self, start: Callable[[], Any]) -> None:
        """Start a request that waited for the one before it: a few each time that the event loop has looked for others, in turn."""
        if not self._later:
            asyncio.get_running_loop().call_soon(self._run_some)
        self._later.append(start)

    def _run_some(self) -> None:
        for _ in range(min(len(self._later), STARTED_TOGETHER)):
            self._later.popleft()()
        if self._later:
            asyncio.get_running_loop().call_soon(self._run_some)

    def make_room(self, newcomer: Connection) -> bool:
        """Drop an eighth of the connections, so that this is done seldom; False where there is none that may go."""
        found = [(rank, one.since_s, one) for one in self.connections if one is not newcomer and (rank := one.rank) is not None]
        found.sort(key=lambda one: one[:2])
        for _, _, connection in found[: max(1, int(self.most_connections * SHED_SHARE))]:
            connection.drop("connections")
        return bool(found)

    @property
    def is_too_full(self) -> bool:
        """Whether requests that are not whole or not answered hold more than 32 MiB in all."""
        return self.waiting_bytes > MOST_WAITING_BYTES

    def shed_waiting(self) -> bool:
        """Refuse requests that are not whole until what is held fits again; False where it does not."""
        for connection in sorted((one for one in self.connections if one.held_bytes), key=lambda one: one.since_s):
            if self.waiting_bytes <= MOST_WAITING_BYTES * KEPT_SHARE:
                break
            if connection.rank is not None:
                connection.refuse(BUSY)
        return not self.is_too_full

    def shed_unread(self) -> None:
        """Drop callers who don't read their answers until what waits for them fits again."""
        for connection in sorted((one for one in self.connections if one.unread_bytes), key=lambda one: one.since_s):
            if self.unread_bytes <= MOST_UNREAD_BYTES * KEPT_SHARE:
                return
            connection.drop("unread")


def allow_connections() -> int:
    """How many connections there may be; the process is given as many file descriptors as the system lets it have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(MOST_CONNECTIONS, max(soft - SPARE_FILES, 1))
