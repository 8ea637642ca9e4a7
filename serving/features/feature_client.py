"""Clients of Feast's online store: histories of users, counts of users and items, from SQLite on a laptop or Redis on a cluster.

A store that is slow or away costs a request at most TIMEOUT_S; the predictor then falls back to the cold-start list, and counts that.
"""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.schema.packed import Layout, from_json, signature_of
from lodestar.schema.ranker_inputs import ITEM_COUNTS, USER_COUNTS
from lodestar.schema.store_keys import KEPT_S, generation_table, layouts_table, rows_key, rows_table
from lodestar.schema.time_units import HOUR_S
from serving.features.packed_reader import NoGeneration, Numbers, PackedView, decode_numbers
from serving.features.redis import TIMEOUT_S, Redis, RedisAddress
from serving.features.user_history import UNKNOWN_USER, PackedRow, UserHistory, user_history

MAX_KEYS = 10_000  # per SELECT of SQLite
RENEW_S, RETRY_S = float(HOUR_S), 60.0  # how often the TTL of a generation in Redis is extended, and when again after a failure
SQLITE, REDIS, NONE = "sqlite:", ("redis://", "rediss://"), "none"

logger = logging.getLogger(__name__)


Histories = list[UserHistory]
Counts = tuple[Numbers, Numbers]


class StoreUnavailable(Exception):
    """The online store did not answer in time, or with invalid data."""


class GenerationMissing(StoreUnavailable):
    """The online store answers, but has no rows of the bundle's feature generation."""


class FeatureClient(Protocol):
    """A client of the online store."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """The history of each user, empty for an unknown user; StoreUnavailable if the store does not answer."""

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """USER_COUNTS of users and ITEM_COUNTS of items, NaN for unknown ones; StoreUnavailable if the store does not answer."""

    async def close(self) -> None:
        """Close connections."""


def connect(
    address: str, password: str | None = None, *, use_time_gaps: bool = False, reads_filters: bool = False, generation: str = ""
) -> FeatureClient:
    """The client of the store at `sqlite:PATH`, `redis://HOST:PORT/DB`, or `none`; the password is for a Redis address without one.

    With `use_time_gaps`, histories include the time gaps between items, with `reads_filters` what is not recommended to the user. Only
    rows of `generation`, the bundle's `info.features`, are read; if it is empty, rows of a store without a published one. UsageError for
    another address.
    """
    names = (schema.RECENT_ITEMS, schema.RECENT_GAPS_S) if use_time_gaps else (schema.RECENT_ITEMS,)
    if address == NONE:
        return NoFeatureClient()
    if address.startswith(SQLITE):
        return SqliteFeatureClient(Path(address.removeprefix(SQLITE)), names, generation, reads_filters=reads_filters)
    if address.startswith(REDIS):
        try:
            return RedisFeatureClient(Redis(RedisAddress.parse(address, password)), names, generation, reads_filters=reads_filters)
        except ValueError as error:
            raise UsageError(f"--online-store takes redis://HOST:PORT/DB, and this is not one: {error}", code="E323") from error
    raise UsageError(f"--online-store takes sqlite:PATH, redis://HOST:PORT or none, not {address!r}", code="E323")


class NoFeatureClient:
    """No online store: every user is a cold-start user."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """Empty histories: every user is a cold-start user."""
        return [UNKNOWN_USER for _ in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """NaN for every count, float64 [users, USER_COUNTS] and [items, ITEM_COUNTS]."""
        return decode_numbers({}, [None] * len(users), USER_COUNTS), decode_numbers({}, [None] * len(items), ITEM_COUNTS)

    async def close(self) -> None:
        """Do nothing; there is no connection."""


class SqliteFeatureClient:
    """Reads a SQLite online store, and opens it again when it is replaced by a file of the same generation.

    If it is replaced by one of another generation, that is logged, and the old file stays open, since its features fit the bundle.
    EnvironmentFault E504 if the file does not exist or is no online store, E551 if it is of another generation from the start.
    """

    def __init__(
        self, path: Path, names: Sequence[str] = (schema.RECENT_ITEMS,), generation: str = "", *, reads_filters: bool = False
    ) -> None:
        self._path, self._names, self._generation, self._reads_filters = path, names, generation, reads_filters
        tables = (rows_table(schema.FEAST_PROJECT, view) for view in (schema.USER_SEQUENCE_VIEW, schema.USER_FILTER_VIEW))
        self._query, self._filter_query = (f'SELECT row FROM "{table}" WHERE entity = ?' for table in tables)
        self._layouts: dict[bytes, Layout] = {}
        self._database: sqlite3.Connection | None = None
        self._opened_file: tuple[int, int] | None = None
        try:
            self._open(self._file())
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                return  # it is being written now, and is opened at the next request
            remedy = "Run the pipeline first, or pass --online-store none."
            raise EnvironmentFault("E504", f"there is no online store at {path} ({error})", remedy=remedy) from error

    async def histories(self, users: Sequence[str]) -> Histories:
        """One SELECT for each user and view, on the event loop; an empty history without a row or past its TTL.

        StoreUnavailable if the file or a row cannot be read.
        """
        with self._read() as database:
            return [self._history(database, user) for user in users]

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """One SELECT for up to 10,000 entities of each view, on the event loop; StoreUnavailable if the file or a row cannot be read."""
        with self._read() as database:
            user_counts = self._numbers(database, schema.USER_ACTIVITY_VIEW, users, USER_COUNTS)
            return user_counts, self._numbers(database, schema.ITEM_STATS_VIEW, items, ITEM_COUNTS)

    async def close(self) -> None:
        """Close the file, if it is open."""
        if self._database is not None:
            self._database.close()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        """The database of the current file, if it is of the generation; every failure becomes StoreUnavailable."""
        try:
            if (file := self._file()) != self._opened_file:
                self._open(file)
            if self._database is None:
                raise StoreUnavailable(f"{self._path} is not open")
            yield self._database
        except EnvironmentFault as error:
            raise GenerationMissing(str(error)) from error
        except (OSError, sqlite3.Error, ValueError) as error:
            raise StoreUnavailable(str(error)) from error

    def _open(self, file: tuple[int, int]) -> None:
        """Open a new file if its rows are of the generation; EnvironmentFault E551 if not and no file is open."""
        database = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S)
        try:
            database.execute(self._query, (b"",)).fetchone()
            held = self._generation and _generation_of(database)
            if held != self._generation and self._database is None:
                message = f"{self._path} holds generation {held or 'without a name'}, and the bundle was trained on {self._generation}"
                raise EnvironmentFault("E551", message, remedy="Give the bundle and the store of one release, or pass --online-store none.")  # noqa: TRY301
        except BaseException:
            database.close()
            raise
        self._opened_file = file
        if held != self._generation:
            database.close()
            logger.warning("%s now holds generation %s; it is read after a start with a bundle of that generation", self._path, held)
            return
        if self._database is not None:
            self._database.close()
        self._database = database

    def _file(self) -> tuple[int, int]:
        found = self._path.stat()
        return found.st_dev, found.st_ino

    def _history(self, database: sqlite3.Connection, user: str) -> UserHistory:
        sequence = self._row(database, self._query, user)
        filters = self._row(database, self._filter_query, user) if self._reads_filters else None
        return user_history(sequence, filters, self._names, reads_filters=self._reads_filters)

    def _row(self, database: sqlite3.Connection, query: str, user: str) -> PackedRow | None:
        """A user's row of a view with its layout, None without one or past its TTL."""
        found = database.execute(query, (user.encode(),)).fetchone()
        if found is None:
            return None
        (row,) = found
        layout = self._layout(database, row)
        return None if layout.is_expired(row, time.time_ns() // 1000) else (layout, row)

    def _numbers(self, database: sqlite3.Connection, view: str, entities: Sequence[str], names: Sequence[str]) -> Numbers:
        """Counts of each entity, in the order of `entities`, which may contain duplicates."""
        table, now_us, row_of = rows_table(schema.FEAST_PROJECT, view), time.time_ns() // 1000, dict[bytes, bytes]()
        keys = [entity.encode() for entity in entities]
        for start in range(0, len(keys), MAX_KEYS):
            part = keys[start : start + MAX_KEYS]
            row_of |= database.execute(f'SELECT entity, row FROM "{table}" WHERE entity IN ({", ".join("?" * len(part))})', part)
        rows = [row_of.get(key) for key in keys]
        rows = [None if row is None or self._layout(database, row).is_expired(row, now_us) else row for row in rows]
        return decode_numbers(self._layouts, rows, names)

    def _layout(self, database: sqlite3.Connection, row: bytes) -> Layout:
        """The layout of a row; ValueError if the store does not have it."""
        known = self._layouts.get(signature_of(row))
        if known is not None:
            return known
        written = database.execute(f'SELECT layout FROM "{layouts_table(schema.FEAST_PROJECT)}"')
        self._layouts = {layout.signature: layout for layout in (from_json(text) for (text,) in written)}
        try:
            return self._layouts[signature_of(row)]
        except KeyError as error:
            raise ValueError("a row has a layout that is not in the store") from error


class RedisFeatureClient:
    """Reads the rows that `feature_repo.stores.redis_store` writes to Redis, for all users of a request in one round trip.

    While it is open it extends the TTL of its generation once an hour (`feature_repo.stores.generations`).
    """

    def __init__(
        self, redis: Redis, names: Sequence[str] = (schema.RECENT_ITEMS,), generation: str = "", *, reads_filters: bool = False
    ) -> None:
        self._redis, self._names, self._generation, self._reads_filters = redis, names, generation, reads_filters
        views = (schema.USER_SEQUENCE_VIEW, schema.USER_FILTER_VIEW, schema.USER_ACTIVITY_VIEW, schema.ITEM_STATS_VIEW)
        self._sequences, self._user_filters, self._activity, self._stats = (PackedView(redis, view, generation) for view in views)
        self._ttl_task: asyncio.Task[None] | None = None

    async def histories(self, users: Sequence[str]) -> Histories:
        """One HMGET for all users, and one for their filters; the first call starts the task that extends the TTL of the generation.

        GenerationMissing if the generation is not complete in Redis, StoreUnavailable if Redis fails or does not answer in time.
        """
        if self._ttl_task is None and self._generation:
            self._ttl_task = asyncio.get_running_loop().create_task(self._extend_ttl())
        try:
            if not self._reads_filters:
                return [user_history(self._sequences.with_layout(row), None, self._names) for row in await self._sequences.rows(users)]
            rows, filters = await asyncio.gather(self._sequences.rows(users), self._user_filters.rows(users))
            return [
                user_history(self._sequences.with_layout(row), self._user_filters.with_layout(of), self._names, reads_filters=True)
                for row, of in zip(rows, filters, strict=True)
            ]
        except NoGeneration as error:
            raise GenerationMissing(str(error)) from error
        except (OSError, ValueError) as error:
            raise StoreUnavailable(str(error)) from error

    async def counts(self, users: Sequence[str], items: Sequence[str]) -> Counts:
        """One HMGET for the users and one for the items, concurrently; errors as of `histories`."""
        try:
            user_counts, item_counts = await asyncio.gather(
                self._activity.numbers(users, USER_COUNTS), self._stats.numbers(items, ITEM_COUNTS)
            )
        except NoGeneration as error:
            raise GenerationMissing(str(error)) from error
        except (OSError, ValueError) as error:
            raise StoreUnavailable(str(error)) from error
        return user_counts, item_counts

    async def close(self) -> None:
        """Cancel the task that extends the TTL, and close the connection."""
        if self._ttl_task is not None:
            self._ttl_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ttl_task
        await self._redis.close()

    async def _extend_ttl(self) -> None:
        """Extend the TTL of a superseded generation (EXPIRE GT); the current one has none."""
        keys = [rows_key(schema.FEAST_PROJECT, self._generation, view) for view in schema.VIEWS]
        is_extended = True
        while True:
            try:
                await self._redis.execute(*(("EXPIRE", key, str(KEPT_S), "GT") for key in keys))
            except OSError as error:
                if is_extended:
                    logger.warning("the TTL of generation %s in the online store was not extended: %s", self._generation, error)
                is_extended = False
            else:
                is_extended = True
            await asyncio.sleep(RENEW_S if is_extended else RETRY_S)


def _generation_of(database: sqlite3.Connection) -> str:
    """The generation of a file, empty if it has none."""
    table = generation_table(schema.FEAST_PROJECT)
    if database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is None:
        return ""
    found = database.execute(f'SELECT generation FROM "{table}"').fetchone()
    return str(found[0]) if found else ""
