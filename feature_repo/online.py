"""Feast's SQLite online store, in which nothing older replaces what is newer, as in Redis.

Feast's own keeps what was written last: a window that is materialised again, or a push that comes late, would turn the clock back. It
keeps times to the second; the two columns that decide here, to the microsecond, are ours. Vectors are not kept.
"""

import sqlite3
from typing import Any, Literal

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.utils import to_naive_utc

from feature_repo.moments import NEVER, microseconds

OURS = ("event_us", "created_us")
WRITTEN = ("entity_key", "feature_name", "value", "event_ts", "created_ts", *OURS)


class NewestSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    type: Literal["feature_repo.online.NewestSqliteOnlineStore"] = "feature_repo.online.NewestSqliteOnlineStore"  # type: ignore[assignment]


class NewestSqliteOnlineStore(SqliteOnlineStore):
    """Of equal event times the one that became known last stays; of those the one that is written last."""

    def online_write_batch(self, config: Any, table: Any, data: list[Any], progress: Any) -> None:
        """One transaction: all of the rows, or none."""
        connection = self._get_conn(config)
        name = _table(config, table)
        rows = []
        for key, values, happened, known in data:
            written = serialize_entity_key(key, entity_key_serialization_version=config.entity_key_serialization_version)
            times = (to_naive_utc(happened), known and to_naive_utc(known), microseconds(happened), microseconds(known))
            rows += [(written, feature, value.SerializeToString(), *times) for feature, value in values.items()]
        with connection:
            connection.executemany(_upsert(name), rows)
        if progress:
            progress(len(data))

    def update(self, config: Any, tables_to_delete: Any, tables_to_keep: Any, *rest: Any, **options: Any) -> None:
        """What `feast apply` does to the file: Feast's own tables, with our columns."""
        super().update(config, tables_to_delete, tables_to_keep, *rest, **options)
        for table in tables_to_keep:
            _add_columns(self._get_conn(config), _table(config, table))

    def plan(self, *_: Any, **__: Any) -> list[Any]:
        """Nothing: applying makes the tables, and `feast plan` would tell of them for ever since Feast notes only its own type's."""
        return []

    async def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


def _table(config: Any, view: Any) -> str:
    return str(compute_table_id(config.project, view, config.registry.enable_online_feature_view_versioning))


def _add_columns(connection: sqlite3.Connection, table: str) -> None:
    present = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
    for column in OURS:
        if column not in present:
            connection.execute(f'ALTER TABLE "{table}" ADD COLUMN {column} INTEGER NOT NULL DEFAULT {NEVER}')


def _upsert(table: str) -> str:
    updates = ", ".join(f"{column} = excluded.{column}" for column in WRITTEN[2:])
    held, given = (", ".join(f"{row}.{column}" for column in OURS) for row in (f'"{table}"', "excluded"))
    return f"""
        INSERT INTO "{table}" ({", ".join(WRITTEN)}) VALUES ({", ".join("?" * len(WRITTEN))})
        ON CONFLICT (entity_key, feature_name) DO UPDATE SET {updates} WHERE ({given}) >= ({held})"""
