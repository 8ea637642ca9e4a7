"""What a user did of late, from Feast's online store: SQLite on a laptop, Redis on a cluster.

A store that is slow or gone costs a request `TIMEOUT_S` at most; the caller then answers without a history, and counts it.
"""

import asyncio
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from serving.feast_layout import redis_field, redis_key, sqlite_table, texts, user_key

SQLITE, REDIS, NONE = "sqlite:", ("redis://", "rediss://"), "none"
TIMEOUT_S = 0.05
Histories = list[tuple[str, ...]]


class StoreFailed(Exception):
    """The store did not answer in time, or not with what it should."""


class Features(Protocol):
    """Recent items of users; of a user who is not known, none."""

    async def histories(self, users: Sequence[str]) -> Histories:
        """Item ids of each user, oldest first; StoreFailed where the store does not give them."""

    async def close(self) -> None:
        """Give connections back."""


def connect(address: str) -> Features:
    """The store at `sqlite:PATH`, `redis://HOST:PORT/DB`, or `none`."""
    if address == NONE:
        return NoFeatures()
    if address.startswith(SQLITE):
        return SqliteFeatures(Path(address.removeprefix(SQLITE)))
    if address.startswith(REDIS):
        return RedisFeatures(address)
    raise UsageError(f"--features takes sqlite:PATH, redis://HOST:PORT or none, not {address!r}")


class NoFeatures:
    """Everyone is new."""

    async def histories(self, users: Sequence[str]) -> Histories:
        return [() for _ in users]

    async def close(self) -> None:
        pass


class SqliteFeatures:
    """Reads a file that Feast materialises into; EnvironmentFault E504 where it is not there."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise EnvironmentFault("E504", f"there is no online store at {path}", remedy="Run the pipeline first, or pass --features none.")
        self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=TIMEOUT_S, check_same_thread=False)
        table = sqlite_table(schema.USER_SEQUENCE_VIEW)
        self._query = f'SELECT value FROM "{table}" WHERE entity_key = ? AND feature_name = ?'

    async def histories(self, users: Sequence[str]) -> Histories:
        return [self._history(user) for user in users]

    async def close(self) -> None:
        self._database.close()

    def _history(self, user: str) -> tuple[str, ...]:
        try:
            row = self._database.execute(self._query, (user_key(user), schema.RECENT_ITEMS)).fetchone()
            return texts(row[0]) if row else ()
        except (sqlite3.Error, ValueError) as error:
            raise StoreFailed(str(error)) from error


class RedisFeatures:
    """Reads what Feast writes to Redis, all users of a request in one round trip; REDIS_PASSWORD is the store's where it has one."""

    def __init__(self, url: str) -> None:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        password = os.environ.get("REDIS_PASSWORD")
        self._client: Redis = Redis.from_url(
            url, password=password, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        self._field = redis_field(schema.USER_SEQUENCE_VIEW, schema.RECENT_ITEMS)

    async def histories(self, users: Sequence[str]) -> Histories:
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(TIMEOUT_S):
                return [texts(value) for value in await self._values(users)]
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            raise StoreFailed(str(error)) from error

    async def close(self) -> None:
        await self._client.aclose()

    async def _values(self, users: Sequence[str]) -> list[bytes | None]:
        if len(users) == 1:
            return [await self._client.hget(redis_key(users[0]), self._field)]  # type: ignore[arg-type, misc]
        pipeline = self._client.pipeline(transaction=False)
        for user in users:
            pipeline.hget(redis_key(user), self._field)  # type: ignore[arg-type]
        return list(await pipeline.execute())
