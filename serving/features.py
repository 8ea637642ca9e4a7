"""What a user did of late, and what is counted of users and items, from Feast's online store: SQLite on a laptop, Redis on a cluster.

A store that is slow or gone costs a request TIMEOUT_S at most; the caller then answers without a history, and counts it.
"""

import asyncio
import contextlib
import logging
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
from lodestar.schema.places import KEPT_S, generation_table, layouts_table, rows_key, rows_table
from serving.packed import NoGeneration, Numbers, PackedView, decoded
from serving.redis import TIMEOUT_S, Redis, RedisAddress

MOST_KEYS = 10_000  # in one question to SQLite
RENEW_S, RETRY_S = 3600.0, 60.0  # how often Redis is told that a generation is read, and when again after it did not take it
SQLITE, REDIS, NONE = "sqlite:", ("redis://", "rediss://"), "none"

logger = logging.getLogger(__name__)


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


class GenerationMissing(StoreFailed):
    """The store answers, and has no rows of the bundle's feature generation."""


class Features(Protocol):
    """Recent items of users; of a user who is not known, none."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """Of each user; StoreFailed where the store does not give them."""

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """USER_COUNTS of users and ITEM_COUNTS of items, NaN where there are none; StoreFailed where the store does not give them."""

    async def close(self) -> None:
        """Give connections back."""


def connect(address: str, password: str | None = None, *, gaps: bool = False, generation: str = "") -> Features:
    """The store at `sqlite:PATH`, `redis://HOST:PORT/DB`, or `none`; the password is for a Redis whose address has none.

    With `gaps` histories come with the seconds between their items. Only rows of the generation are read, which is the bundle's
    `info.features`; without one, those of a store in which none was published.
    """
    asked = (schema.RECENT_ITEMS, schema.RECENT_GAPS_S) if gaps else (schema.RECENT_ITEMS,)
    if address == NONE:
        return NoFeatures()
    if address.startswith(SQLITE):
        return SqliteFeatures(Path(address.removeprefix(SQLITE)), asked, generation)
    if address.startswith(REDIS):
        try:
            return RedisFeatures(Redis(RedisAddress.parse(address, password)), asked, generation)
        except ValueError as error:
            raise UsageError(f"--features takes redis://HOST:PORT/DB, and this is none: {error}") from error
    raise UsageError(f"--features takes sqlite:PATH, redis://HOST:PORT or none, not {address!r}")


class NoFeatures:
    """Everyone is new."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """No items for anyone: every user is a cold-start user."""
        return [NOBODY for _ in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """NaN for every count, float64 [users, USER_COUNTS] and [items, ITEM_COUNTS]."""
        return decoded({}, [None] * len(users), USER_COUNTS), decoded({}, [None] * len(items), ITEM_COUNTS)

    async def close(self) -> None:
        """There is no connection."""


class SqliteFeatures:
    """Reads a file that Feast materialises into, and reads it anew where another one of the same generation has taken its place.

    Where one of another generation has, that is logged, and the old one, which is still open, is read on: what it says fits the bundle.
    EnvironmentFault E504 where the file is not there, or no online store, E551 where it is of another generation from the start.
    """

    def __init__(self, path: Path, asked: Sequence[str] = (schema.RECENT_ITEMS,), generation: str = "") -> None:
        self._path, self._asked, self._generation = path, asked, generation
        self._query = f'SELECT row FROM "{rows_table(schema.FEAST_PROJECT, schema.USER_SEQUENCE_VIEW)}" WHERE entity = ?'
        self._layouts: dict[bytes, Layout] = {}
        self._database: sqlite3.Connection | None = None
        self._looked_at: tuple[int, int] | None = None
        try:
            self._look_at(self._file())
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return  # it is being written just now, and is looked at again when it is asked
            remedy = "Run the pipeline first, or pass --features none."
            raise EnvironmentFault("E504", f"there is no online store at {path} ({error})", remedy=remedy) from error

    async def histories(self, users: Sequence[str]) -> Histories:
        """A SELECT for each user, on the event loop; nothing of a user without a row or with one past its TTL.

        StoreFailed where the file or a row cannot be read.
        """
        with self._read() as database:
            return [self._history(database, user) for user in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """A SELECT for up to 10,000 entities of each view, on the event loop; StoreFailed where the file or a row cannot be read."""
        with self._read() as database:
            of_users = self._numbers(database, schema.USER_ACTIVITY_VIEW, users, USER_COUNTS)
            return of_users, self._numbers(database, schema.ITEM_STATS_VIEW, items, ITEM_COUNTS)

    async def close(self) -> None:
        """Close the file, if it is open."""
        if self._database is not None:
            self._database.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """From the file that is there now, if it is of the generation; StoreFailed for all that goes wrong."""
        try:
            if (file := self._file()) != self._looked_at:
                self._look_at(file)
            if self._database is None:
                raise StoreFailed(f"{self._path} is not open")
            yield self._database
        except EnvironmentFault as error:
            raise GenerationMissing(str(error)) from error
        except (OSError, sqlite3.Error, ValueError) as error:
            raise StoreFailed(str(error)) from error

    def _look_at(self, file: tuple[int, int]) -> None:
        """Read from a file that has come, if its rows are of the generation."""
        database = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            database.execute(self._query, (b"",)).fetchone()
            held = self._generation and _generation_of(database)
            if held != self._generation and self._database is None:
                message = f"{self._path} holds generation {held or 'without a name'}, and the bundle was trained on {self._generation}"
                raise EnvironmentFault("E551", message, remedy="Give the bundle and the store of one release, or pass --features none.")  # noqa: TRY301
        except BaseException:
            database.close()
            raise
        self._looked_at = file
        if held != self._generation:
            database.close()
            logger.warning("%s now holds generation %s; it is read when a process starts with a bundle of that", self._path, held)
            return
        if self._database is not None:
            self._database.close()
        self._database = database

    def _file(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_dev, found.st_ino

    def _history(self, database: sqlite3.Connection, user: str) -> Recent:
        found = database.execute(self._query, (user.encode(),)).fetchone()
        if found is None:
            return NOBODY
        (row,) = found
        layout = self._layout(database, row)
        if layout.is_expired(row, time.time_ns() // 1000):
            return NOBODY
        return _recent([layout.value(row, name) for name in self._asked], known_us(row))

    def _numbers(self, database: sqlite3.Connection, view: str, entities: Sequence[str], names: Sequence[str]) -> Numbers:
        """Of each entity, however often it is named."""
        table, now_us, rows = rows_table(schema.FEAST_PROJECT, view), time.time_ns() // 1000, dict[bytes, bytes]()
        keys = [entity.encode() for entity in entities]
        for start in range(0, len(keys), MOST_KEYS):
            part = keys[start : start + MOST_KEYS]
            rows |= database.execute(f'SELECT entity, row FROM "{table}" WHERE entity IN ({", ".join("?" * len(part))})', part)
        held = [rows.get(key) for key in keys]
        held = [None if row is None or self._layout(database, row).is_expired(row, now_us) else row for row in held]
        return decoded(self._layouts, held, names)

    def _layout(self, database: sqlite3.Connection, row: bytes) -> Layout:
        """That of a row; ValueError where nobody has written it down."""
        known = self._layouts.get(signature_of(row))
        if known is not None:
            return known
        written = database.execute(f'SELECT layout FROM "{layouts_table(schema.FEAST_PROJECT)}"')
        self._layouts = {layout.signature: layout for layout in (from_json(text) for (text,) in written)}
        try:
            return self._layouts[signature_of(row)]
        except KeyError as error:
            raise ValueError("a row is of a layout that is not there") from error


class RedisFeatures:
    """Reads what `feature_repo.packed` writes to Redis, all users of a request in one round trip.

    As long as it is open Redis is told now and then that the generation is read, and keeps it (`feature_repo.generations`).
    """

    def __init__(self, redis: Redis, asked: Sequence[str] = (schema.RECENT_ITEMS,), generation: str = "") -> None:
        self._redis, self._asked, self._generation = redis, asked, generation
        views = (schema.USER_SEQUENCE_VIEW, schema.USER_ACTIVITY_VIEW, schema.ITEM_STATS_VIEW)
        self._sequences, self._activity, self._stats = (PackedView(redis, view, generation) for view in views)
        self._keeping: asyncio.Task[None] | None = None

    async def histories(self, users: Sequence[str]) -> Histories:
        """One HMGET for all users, answered within TIMEOUT_S; the first call starts the task that keeps the generation from expiring.

        GenerationMissing where Redis has no complete rows of the generation, StoreFailed where it does not answer in time or as it should.
        """
        if self._keeping is None and self._generation:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())
        try:
            found = await self._sequences.known(users, self._asked)
            return [NOBODY if one is None else _recent(*one) for one in found]
        except NoGeneration as error:
            raise GenerationMissing(str(error)) from error
        except (OSError, ValueError) as error:
            raise StoreFailed(str(error)) from error

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """Both on their way at once."""
        try:
            of_users, of_items = await asyncio.gather(self._activity.numbers(users, USER_COUNTS), self._stats.numbers(items, ITEM_COUNTS))
        except NoGeneration as error:
            raise GenerationMissing(str(error)) from error
        except (OSError, ValueError) as error:
            raise StoreFailed(str(error)) from error
        return of_users, of_items

    async def close(self) -> None:
        """Cancel the task that keeps the generation from expiring, and close the connection."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        await self._redis.close()

    async def _keep(self) -> None:
        """Put off the end of a superseded generation; what has none, the current one, is left alone."""
        keys = [rows_key(schema.FEAST_PROJECT, self._generation, view) for view in schema.VIEWS]
        is_kept = True
        while True:
            try:
                await self._redis.ask(*(("EXPIRE", key, str(KEPT_S), "GT") for key in keys))
            except OSError as error:
                if is_kept:
                    logger.warning("the online store does not take that generation %s is read: %s", self._generation, error)
                is_kept = False
            else:
                is_kept = True
            await asyncio.sleep(RENEW_S if is_kept else RETRY_S)


def _generation_of(database: sqlite3.Connection) -> str:
    """Nothing where the file does not say."""
    table = generation_table(schema.FEAST_PROJECT)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is None:
        return ""
    found = database.execute(f'SELECT generation FROM "{table}"').fetchone()
    return str(found[0]) if found else ""


def _recent(values: Sequence[Any], moment_us: int) -> Recent:
    """From what a row says of items and, where they were asked for, gaps."""
    items, *gaps_s = (tuple(value or ()) for value in values)
    return Recent(items, moment_us, *gaps_s)
