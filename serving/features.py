"""What a user did of late, and what is counted of users and items, from Feast's online store: SQLite on a laptop, Redis on a cluster.

A store that is slow or gone costs a request TIMEOUT_S at most; the caller then answers without a history, and counts it.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.schema.packed import Layout, from_json, known_us, signature_of
from lodestar.schema.pairs import ITEM_COUNTS, USER_COUNTS
from lodestar.schema.places import layouts_table, rows_table
from serving.packed import Numbers, PackedView, decoded
from serving.redis import TIMEOUT_S, Redis, RedisAddress

MOST_KEYS = 10_000  # in one question to SQLite
SQLITE, REDIS, NONE = "sqlite:", ("redis://", "rediss://"), "none"


class Recent(NamedTuple):
    """A user's items of late, oldest first, and the moment (UTC µs) as of which the store knew them; 0 where it knows nobody.

    The seconds since the item before stand beside them where they were asked for.
    """

    items: tuple[str, ...]
    known_us: int
    gaps_s: tuple[float, ...] = ()


Histories = list[Recent]
Counts = tuple[Numbers, Numbers]
NOBODY = Recent((), 0)


class StoreFailed(Exception):
    """The store did not answer in time, or not with what it should."""


class Features(Protocol):
    """Recent items of users; of a user who is not known, none."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """Of each user; StoreFailed where the store does not give them."""

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """USER_COUNTS of users and ITEM_COUNTS of items, NaN where there are none; StoreFailed where the store does not give them."""

    async def close(self) -> None:
        """Give connections back."""


def connect(address: str, password: str | None = None, *, gaps: bool = False) -> Features:
    """The store at `sqlite:PATH`, `redis://HOST:PORT/DB`, or `none`; the password is for a Redis whose address has none.

    With `gaps` histories come with the seconds between their items.
    """
    asked = (schema.RECENT_ITEMS, schema.RECENT_GAPS_S) if gaps else (schema.RECENT_ITEMS,)
    if address == NONE:
        return NoFeatures()
    if address.startswith(SQLITE):
        return SqliteFeatures(Path(address.removeprefix(SQLITE)), asked)
    if address.startswith(REDIS):
        try:
            return RedisFeatures(Redis(RedisAddress.parse(address, password)), asked)
        except ValueError as error:
            raise UsageError(f"--features takes redis://HOST:PORT/DB, and this is none: {error}") from error
    raise UsageError(f"--features takes sqlite:PATH, redis://HOST:PORT or none, not {address!r}")


class NoFeatures:
    """Everyone is new."""

    async def histories(self, users: Sequence[str]) -> Histories:
        return [NOBODY for _ in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        return decoded({}, [None] * len(users), USER_COUNTS), decoded({}, [None] * len(items), ITEM_COUNTS)

    async def close(self) -> None:
        pass


class SqliteFeatures:
    """Reads a file that Feast materialises into, and reads it anew where another one has taken its place.

    EnvironmentFault E504 where it is not there, or no online store.
    """

    def __init__(self, path: Path, asked: Sequence[str] = (schema.RECENT_ITEMS,)) -> None:
        self._path, self._asked = path, asked
        self._query = f'SELECT row FROM "{rows_table(schema.FEAST_PROJECT, schema.USER_SEQUENCE_VIEW)}" WHERE entity = ?'
        self._layouts: dict[bytes, Layout] = {}
        try:
            self._open()
            self._check()
        except (OSError, sqlite3.Error) as error:
            remedy = "Run the pipeline first, or pass --features none."
            raise EnvironmentFault("E504", f"there is no online store at {path} ({error})", remedy=remedy) from error

    async def histories(self, users: Sequence[str]) -> Histories:
        with self._read():
            return [self._history(user) for user in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        with self._read():
            of_users = self._numbers(schema.USER_ACTIVITY_VIEW, users, USER_COUNTS)
            return of_users, self._numbers(schema.ITEM_STATS_VIEW, items, ITEM_COUNTS)

    async def close(self) -> None:
        self._database.close()

    @contextmanager
    def _read(self) -> Iterator[None]:
        """From the file that is there now; StoreFailed for all that goes wrong."""
        try:
            if self._file() != self._opened:
                self._database.close()
                self._open()
            yield
        except (OSError, sqlite3.Error, ValueError) as error:
            raise StoreFailed(str(error)) from error

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

    def _history(self, user: str) -> Recent:
        found = self._database.execute(self._query, (user.encode(),)).fetchone()
        if found is None:
            return NOBODY
        (row,) = found
        layout = self._layout(row)
        if layout.is_expired(row, time.time_ns() // 1000):
            return NOBODY
        return _recent([layout.value(row, name) for name in self._asked], known_us(row))

    def _numbers(self, view: str, entities: Sequence[str], names: Sequence[str]) -> Numbers:
        """Of each entity, however often it is named."""
        table, now_us, rows = rows_table(schema.FEAST_PROJECT, view), time.time_ns() // 1000, dict[bytes, bytes]()
        keys = [entity.encode() for entity in entities]
        for start in range(0, len(keys), MOST_KEYS):
            part = keys[start : start + MOST_KEYS]
            rows |= self._database.execute(f'SELECT entity, row FROM "{table}" WHERE entity IN ({", ".join("?" * len(part))})', part)
        held = [rows.get(key) for key in keys]
        held = [None if row is None or self._layout(row).is_expired(row, now_us) else row for row in held]
        return decoded(self._layouts, held, names)

    def _layout(self, row: bytes) -> Layout:
        """That of a row; ValueError where nobody has written it down."""
        known = self._layouts.get(signature_of(row))
        if known is not None:
            return known
        written = self._database.execute(f'SELECT layout FROM "{layouts_table(schema.FEAST_PROJECT)}"')
        self._layouts = {layout.signature: layout for layout in (from_json(text) for (text,) in written)}
        try:
            return self._layouts[signature_of(row)]
        except KeyError as error:
            raise ValueError("a row is of a layout that is not there") from error


class RedisFeatures:
    """Reads what `feature_repo.packed` writes to Redis, all users of a request in one round trip."""

    def __init__(self, redis: Redis, asked: Sequence[str] = (schema.RECENT_ITEMS,)) -> None:
        self._redis, self._asked = redis, asked
        views = (schema.USER_SEQUENCE_VIEW, schema.USER_ACTIVITY_VIEW, schema.ITEM_STATS_VIEW)
        self._sequences, self._activity, self._stats = (PackedView(redis, view) for view in views)

    async def histories(self, users: Sequence[str]) -> Histories:
        try:
            found = await self._sequences.known(users, self._asked)
            return [NOBODY if one is None else _recent(*one) for one in found]
        except (OSError, ValueError) as error:
            raise StoreFailed(str(error)) from error

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """Both on their way at once."""
        try:
            of_users, of_items = await asyncio.gather(self._activity.numbers(users, USER_COUNTS), self._stats.numbers(items, ITEM_COUNTS))
        except (OSError, ValueError) as error:
            raise StoreFailed(str(error)) from error
        return of_users, of_items

    async def close(self) -> None:
        await self._redis.close()


def _recent(values: Sequence[Any], moment_us: int) -> Recent:
    """From what a row says of items and, where they were asked for, gaps."""
    items, *gaps_s = (tuple(value or ()) for value in values)
    return Recent(items, moment_us, *gaps_s)
