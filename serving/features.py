"""What a user did of late, from Feast's online store: SQLite on a laptop, Redis on a cluster.

A store that is slow or gone costs a request `TIMEOUT_S` at most; the caller then answers without a history, and counts it.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import hiredis

from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from serving.feast_layout import redis_field, redis_key, sqlite_table, texts, user_key

SQLITE, REDIS, NONE = "sqlite:", ("redis://", "rediss://"), "none"
TIMEOUT_S = 0.05
CONNECT_S, STUCK_S = 1.0, 1.0  # a connection is tried, or waited for, by many requests in turn
REDIS_PORT = 6379
Command = tuple[bytes | str, ...]
Histories = list[tuple[str, ...]]


class StoreFailed(Exception):
    """The store did not answer in time, or not with what it should."""


class Features(Protocol):
    """Recent items of users; of a user who is not known, none."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """Item ids of each user, oldest first; StoreFailed where the store does not give them."""

    async def close(self) -> None:
        """Give connections back."""


def connect(address: str, password: str | None = None) -> Features:
    """The store at `sqlite:PATH`, `redis://HOST:PORT/DB`, or `none`; the password is for a Redis whose address has none."""
    if address == NONE:
        return NoFeatures()
    if address.startswith(SQLITE):
        return SqliteFeatures(Path(address.removeprefix(SQLITE)))
    if address.startswith(REDIS):
        try:
            return RedisFeatures(RedisAddress.parse(address, password))
        except ValueError as error:
            raise UsageError(f"--features takes redis://HOST:PORT/DB, and this is none: {error}") from error
    raise UsageError(f"--features takes sqlite:PATH, redis://HOST:PORT or none, not {address!r}")


class NoFeatures:
    """Everyone is new."""

    async def histories(self, users: Sequence[str]) -> Histories:
        return [() for _ in users]

    async def close(self) -> None:
        pass


class SqliteFeatures:
    """Reads a file that Feast materialises into, and reads it anew where another one has taken its place.

    EnvironmentFault E504 where it is not there, or no online store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._query = f'SELECT value FROM "{sqlite_table(schema.USER_SEQUENCE_VIEW)}" WHERE entity_key = ? AND feature_name = ?'
        try:
            self._open()
            self._check()
        except (OSError, sqlite3.Error) as error:
            remedy = "Run the pipeline first, or pass --features none."
            raise EnvironmentFault("E504", f"there is no online store at {path} ({error})", remedy=remedy) from error

    async def histories(self, users: Sequence[str]) -> Histories:
        try:
            if self._file() != self._opened:
                self._database.close()
                self._open()
            return [self._history(user) for user in users]
        except (OSError, sqlite3.Error, ValueError) as error:
            raise StoreFailed(str(error)) from error

    async def close(self) -> None:
        self._database.close()

    def _open(self) -> None:
        self._opened = self._file()
        self._database = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)

    def _check(self) -> None:
        """That there is something to read, if not just now while it is being written."""
        try:
            self._history("")
        except sqlite3.Error as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                self._database.close()
                raise

    def _file(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_dev, found.st_ino

    def _history(self, user: str) -> tuple[str, ...]:
        row = self._database.execute(self._query, (user_key(user), schema.RECENT_ITEMS)).fetchone()
        return texts(row[0]) if row else ()


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """Where a Redis listens, and what it wants to be told first."""

    host: str
    port: int
    is_tls: bool
    greeting: tuple[Command, ...]

    @classmethod
    def parse(cls, address: str, password: str | None = None) -> "RedisAddress":
        """Of `redis://USER:PASSWORD@HOST:PORT/DB`, of which all but the host may be absent; ValueError where it is none."""
        parts = urlsplit(address)
        if not parts.hostname:
            raise ValueError("it names no host")
        words = [unquote(word) for word in (parts.username, parts.password or password) if word]
        greeting: list[Command] = [("AUTH", *words)] if words else []
        if database := parts.path.strip("/"):
            greeting.append(("SELECT", str(int(database))))
        return cls(host=parts.hostname, port=parts.port or REDIS_PORT, is_tls=parts.scheme == "rediss", greeting=tuple(greeting))


class RedisFeatures:
    """Reads what Feast writes to Redis, all users of a request in one round trip, over one connection that all requests share.

    The usual client takes five times as long to ask for one value (55 µs of CPU against 10), and 0.2 s to import.
    """

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._field = redis_field(schema.USER_SEQUENCE_VIEW, schema.RECENT_ITEMS)
        self._opening: asyncio.Task[_Link] | None = None

    async def histories(self, users: Sequence[str]) -> Histories:
        opening = self._opened()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                link = await asyncio.shield(opening)
                return [texts(value) for value in await link.ask([("HGET", redis_key(user), self._field) for user in users])]
        except TimeoutError as error:
            if _is_open(opening):
                opening.result().close_if_stuck()
            raise StoreFailed(f"no answer within {1e3 * TIMEOUT_S:.0f} ms") from error
        except (OSError, ValueError) as error:
            raise StoreFailed(str(error)) from error

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
            if _is_open(self._opening):
                self._opening.result().close()

    def _opened(self) -> "asyncio.Task[_Link]":
        """The connection, which may still be on its way; where there is none, a new one."""
        if self._opening is None or (self._opening.done() and not _is_open(self._opening)):
            self._opening = asyncio.get_running_loop().create_task(self._connected())
        return self._opening

    async def _connected(self) -> "_Link":
        where = self._address
        async with asyncio.timeout(CONNECT_S):
            _, link = await asyncio.get_running_loop().create_connection(_Link, where.host, where.port, ssl=where.is_tls or None)
            if where.greeting:
                try:
                    await link.ask(where.greeting)
                except BaseException:
                    link.close()
                    raise
        return link


def _is_open(opening: "asyncio.Task[_Link]") -> bool:
    return opening.done() and not opening.cancelled() and opening.exception() is None and not opening.result().is_closed


@dataclass(kw_only=True)
class _Question:
    """Commands that were sent together, and the replies that have come."""

    count: int
    asked_at: float
    answered: "asyncio.Future[list[Any]]"
    replies: list[Any] = field(default_factory=list)


class _Link(asyncio.Protocol):
    """A connection to Redis; replies come in the order of the commands."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._questions: deque[_Question] = deque()
        self._loop = asyncio.get_running_loop()

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The replies; OSError where one is an error, or the connection is lost."""
        question = _Question(count=len(commands), asked_at=self._loop.time(), answered=self._loop.create_future())
        self._questions.append(question)
        self._transport.write(b"".join([_packed(command) for command in commands]))
        replies = await question.answered
        for reply in replies:
            if isinstance(reply, hiredis.HiredisError):
                raise OSError(str(reply))
        return replies

    def close(self) -> None:
        self._transport.close()

    def close_if_stuck(self) -> None:
        """Give a connection up that has been silent for long; a late answer alone is no reason."""
        if self._questions and self._loop.time() - self._questions[0].asked_at > STUCK_S:
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._take(reply)
        except (hiredis.HiredisError, IndexError):  # what is no Redis, or a Redis that says more than it was asked
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        lost = ConnectionError(f"the connection was lost ({exc or 'closed'})")
        while self._questions:
            answered = self._questions.popleft().answered
            if not answered.done():
                answered.set_exception(lost)

    def _take(self, reply: Any) -> None:
        question = self._questions[0]
        question.replies.append(reply)
        if len(question.replies) == question.count:
            self._questions.popleft()
            if not question.answered.done():
                question.answered.set_result(question.replies)


# Its stub knows commands of one word only.
_packed: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]
