"""DuckDB views of the contract's tables, and the views of events that features are built from, out of core."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.tables.tables import Tables
from lodestar.features.batch import event_partitions
from lodestar.io.disk_database import open_database
from lodestar.io.private_folders import workspace

MEMORY = "230MB"  # of the database; the rest spills to the temporary folder
QUERY_KEYS, WANTED = "query_keys", "wanted_entities"
_POSITIVE = ", ".join(f"'{kind}'" for kind in sorted(schema.POSITIVE))


@contextmanager
def connect(tables: Tables, known_by_us: int | None = None, spill_near: Path | None = None) -> Iterator[Any]:
    """DuckDB database with the tables as views, and the events of POSITIVE and SEARCHES partitioned by entity.

    With `known_by_us` (UTC µs) it holds only rows known by then. Temporary files are written next to the path `spill_near`, or in the
    system's temporary folder.
    """
    known = "" if known_by_us is None else f"WHERE epoch_us({schema.INGESTED_AT}) <= {known_by_us}"
    with _temporary_database(spill_near) as (database, folder):
        _create_views(database, tables, known)
        _key_queries(database)
        database.execute(f"CREATE VIEW {event_partitions.SEARCHES} AS {search_events_sql()}")
        for events_view in event_partitions.PARTITION_KEYS:
            event_partitions.partition_events(database, folder, events_view)
        yield database


@contextmanager
def viewed(tables: Tables) -> Iterator[Any]:
    """DuckDB database with the tables and `positive` as views, without partitions."""
    with _temporary_database(None) as (database, _):
        _create_views(database, tables, "")
        yield database


@contextmanager
def connect_for(tables: Tables, entity: str, entities: Sequence[str]) -> Iterator[Any]:
    """DuckDB database with `positive` limited to events of the given entities (ids of users or items), and partitioned."""
    with _temporary_database(None) as (database, folder):
        _create_views(database, tables, "")
        database.register(WANTED, pa.table({entity: pa.array(entities, pa.string())}))
        database.execute(
            f"CREATE OR REPLACE VIEW {event_partitions.POSITIVE} AS {positive_events_sql()} AND {entity} IN (SELECT * FROM {WANTED})"
        )
        event_partitions.partition_events(database, folder, event_partitions.POSITIVE)
        yield database


@contextmanager
def _temporary_database(spill_near: Path | None) -> Iterator[tuple[Any, Path]]:
    """Empty DuckDB database in a temporary folder, and that folder."""
    with (
        tempfile.TemporaryDirectory(dir=spill_near.parent) if spill_near else workspace() as folder,
        open_database(Path(folder, "features.duckdb"), MEMORY) as database,
    ):
        yield database, Path(folder)


def _create_views(database: Any, tables: Tables, known: str) -> None:
    """Create views of the tables and of positive events, all in file order."""
    for table in schema.TABLES.values():
        files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in tables.paths(table))
        row_number = "(file_index::BIGINT << 40) + file_row_number AS file_row_number"  # parts are in order, and so are the rows of each
        database.execute(f"""
            CREATE VIEW {table.name} AS SELECT * EXCLUDE (file_row_number), {row_number}
            FROM read_parquet([{files}], file_row_number = true) {known}""")
    database.execute(f"CREATE VIEW {event_partitions.POSITIVE} AS {positive_events_sql()}")


def positive_events_sql() -> str:
    """SQL of positive events: interactions with an item of the catalogue whose type counts as positive feedback."""
    return f"""
        SELECT * FROM events
        WHERE {schema.EVENT_TYPE} IN ({_POSITIVE}) AND {schema.ITEM_ID} IN (SELECT {schema.ITEM_ID} FROM items)"""


def search_events_sql() -> str:
    """SQL of searches and of positive events that followed a search, with the normalised query."""
    return f"""
        SELECT events.*, {schema.QUERY} FROM events JOIN {QUERY_KEYS} USING ({schema.QUERY_TEXT})
        WHERE {schema.EVENT_TYPE} IN ('{schema.EventType.SEARCH}', {_POSITIVE})"""


def _key_queries(database: Any) -> None:
    """Create the table of all search texts and their normalised queries."""
    database.execute(f"CREATE TABLE {QUERY_KEYS} ({schema.QUERY_TEXT} VARCHAR, {schema.QUERY} VARCHAR)")
    texts = database.cursor().execute(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
    for batch in texts.to_arrow_reader(event_partitions.BATCH_ROWS):
        database.register("keyed", pa.Table.from_batches([with_query_key(batch)]))
        database.execute(f"INSERT INTO {QUERY_KEYS} SELECT * FROM keyed WHERE {schema.QUERY} <> ''")
        database.unregister("keyed")


def with_query_key(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Search texts with their normalised query (`schema.query_key`), (query_text, query)."""
    keys = pa.array([schema.query_key(text) for text in batch.column(schema.QUERY_TEXT).to_pylist()], pa.string())
    return pa.RecordBatch.from_arrays([batch.column(schema.QUERY_TEXT), keys], names=[schema.QUERY_TEXT, schema.QUERY])
