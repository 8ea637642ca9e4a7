"""Feast online store in SQLite with packed rows, in which an older row never replaces a newer one, as in Redis.

Feast's own store keeps the last write, a message for each value, and times in seconds. There is no vector search.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from feast import FeatureView
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo.stores import row_codec
from feature_repo.stores.row_codec import Row, layout_of
from lodestar.errors import EnvironmentFault
from lodestar.schema.packed import from_json, signature_of
from lodestar.schema.store_keys import generation_table, layouts_table, rows_table


class PackedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """`online_store` of feature_store.yaml: Feast's options of its SQLite store, of which `path` alone is read here."""

    type: Literal["feature_repo.stores.sqlite_store.PackedSqliteOnlineStore"] = "feature_repo.stores.sqlite_store.PackedSqliteOnlineStore"  # type: ignore[assignment]


class PackedSqliteOnlineStore(OnlineStore):
    """Packed rows in one SQLite file; of equal event times the later known time stays, of equal known times the last write."""

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    def online_write_batch(
        self, config: Any, table: FeatureView, data: list[Any], progress: Callable[[int], Any] | None, *_: Any, **__: Any
    ) -> None:
        """Pack Feast's messages and write them in one transaction, into whichever generation the file holds; `progress` is called once.

        ValueError if a feature of the view has an unsupported type.
        """
        self.write_rows(config, table, row_codec.from_messages(config, table, data))
        if progress:
            progress(len(data))

    def write_rows(self, config: Any, view: FeatureView, rows: Sequence[Row], generation: str = "") -> None:
        """Write rows in one transaction; EnvironmentFault E552 if they are of another generation than the file."""
        layout = layout_of(view)
        with self._opened(config) as database:
            held = database.execute(f'SELECT generation FROM "{generation_table(config.project)}"').fetchone() or ("",)
            if generation and held[0] not in {generation, ""}:
                message = f"{_path(config)} holds generation {held[0]}, and these tables are of {generation}"
                raise EnvironmentFault("E552", message, remedy="Name the tables of a generation that is served, or publish this one.")
            database.execute(f'INSERT OR IGNORE INTO "{layouts_table(config.project)}" VALUES (?, ?)', (layout.signature, layout.to_json()))
            database.executemany(_upsert(rows_table(config.project, view.name)), rows)

    def since(self, _config: Any, _view: FeatureView, _generation: str, start: datetime) -> datetime:
        """The time from which rows are to be materialised: `start`, of Feast's registry beside the file."""
        return start

    def filled(self, config: Any, view: FeatureView, generation: str, until: datetime) -> None:
        """Do nothing; Feast's registry records it."""

    def name(self, config: Any, generation: str) -> None:
        """Record the generation of the file's rows."""
        with self._opened(config) as database:
            database.execute(f'DELETE FROM "{generation_table(config.project)}"')
            database.execute(f'INSERT INTO "{generation_table(config.project)}" VALUES (?)', (generation,))

    async def online_write_batch_async(self, *args: Any, **options: Any) -> None:
        """`online_write_batch` in a thread, so that the disk does not block the event loop."""
        await asyncio.to_thread(self.online_write_batch, *args, **options)

    def online_read(
        self, config: Any, table: FeatureView, entity_keys: list[Any], requested_features: list[str] | None = None, *_: Any, **__: Any
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """Event time and values of each entity, in the order of `entity_keys`, one SELECT each; (None, None) without a row within its TTL.

        A row that an older version of the view wrote is decoded by its own layout; missing features are null.
        """
        database, name = self._opened(config), rows_table(config.project, table.name)
        query = f'SELECT row FROM "{name}" WHERE entity = ?'
        found = [database.execute(query, (row_codec.entity_bytes(config, entity),)).fetchone() for entity in entity_keys]
        layouts = {layout.signature: layout for layout in [layout_of(table)]}
        if {signature_of(row) for (row,) in filter(None, found)} - layouts.keys():
            written = database.execute(f'SELECT layout FROM "{layouts_table(config.project)}"')
            layouts |= {layout.signature: layout for layout in (from_json(text) for (text,) in written)}
        return [row_codec.to_messages(table, layouts, row[0] if row else None, requested_features) for row in found]

    async def online_read_async(self, *args: Any, **options: Any) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        """`online_read` in a thread, so that the disk does not block the event loop."""
        return await asyncio.to_thread(self.online_read, *args, **options)

    def update(self, config: Any, tables_to_delete: Any, tables_to_keep: Any, *_: Any, **__: Any) -> None:
        """Create the tables of new views, and drop those of removed ones; called by `feast apply`."""
        with self._opened(config) as database:
            database.execute(f'CREATE TABLE IF NOT EXISTS "{layouts_table(config.project)}" (signature BLOB PRIMARY KEY, layout TEXT)')
            database.execute(f'CREATE TABLE IF NOT EXISTS "{generation_table(config.project)}" (generation TEXT NOT NULL)')
            for table in tables_to_keep:
                name = rows_table(config.project, table.name)
                columns = "entity BLOB PRIMARY KEY, row BLOB NOT NULL, event_us INTEGER NOT NULL, known_us INTEGER NOT NULL"
                database.execute(f'CREATE TABLE IF NOT EXISTS "{name}" ({columns}) WITHOUT ROWID')
            for table in tables_to_delete:
                database.execute(f'DROP TABLE IF EXISTS "{rows_table(config.project, table.name)}"')

    def plan(self, *_: Any, **__: Any) -> list[Any]:
        """Return no infrastructure: `feast plan` would list the tables forever, since Feast records only those of its own store."""
        return []

    def teardown(self, config: Any, *_: Any, **__: Any) -> None:
        """Delete the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        _path(config).unlink(missing_ok=True)

    async def close(self) -> None:
        """Close the connection to the file, if there is one; the next read or write opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _opened(self, config: Any) -> sqlite3.Connection:
        if self._connection is None:
            path = _path(config)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, check_same_thread=False)
        return self._connection


def _path(config: Any) -> Path:
    return Path(config.repo_path or ".", config.online_store.path)


def _upsert(table: str) -> str:
    columns = ("entity", "row", "event_us", "known_us")
    updates = ", ".join(f"{column} = excluded.{column}" for column in columns[1:])
    held, given = (", ".join(f"{row}.{column}" for column in columns[2:]) for row in (f'"{table}"', "excluded"))
    return f"""
        INSERT INTO "{table}" ({", ".join(columns)}) VALUES (?, ?, ?, ?)
        ON CONFLICT (entity) DO UPDATE SET {updates} WHERE ({given}) >= ({held})"""
