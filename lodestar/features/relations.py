"""What features are built from: the contract's tables as relations of a database that works out of core."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.tables import Tables
from lodestar.features import taken
from lodestar.private import workspace

MEMORY = "230MB"  # of the database; what does not fit goes to the temporary folder
QUERY_KEYS, WANTED = "query_keys", "wanted_entities"
_POSITIVE = ", ".join(f"'{kind}'" for kind in sorted(schema.POSITIVE))


@contextmanager
def opened(found: Tables, known_by_us: int | None = None, beside: Path | None = None) -> Iterator[Any]:
    """The tables as views, and `positive` and `asked` dealt out by `taken`.

    With `known_by_us` they hold only what had become known by then. What does not fit into memory lies `beside` a path, or in the
    system's folder for such.
    """
    known = "" if known_by_us is None else f"WHERE epoch_us({schema.INGESTED_AT}) <= {known_by_us}"
    with _connected(beside) as (database, folder):
        _view(database, found, known)
        _key_queries(database)
        database.execute(f"CREATE VIEW {taken.ASKED} AS {asked()}")
        for relation in taken.DEALT:
            taken.encode(database, folder, relation)
        yield database


@contextmanager
def viewed(found: Tables) -> Iterator[Any]:
    """The tables and `positive` as views, with nothing dealt out."""
    with _connected(None) as (database, _):
        _view(database, found, "")
        yield database


@contextmanager
def opened_for(found: Tables, entity: str, wanted: Sequence[str]) -> Iterator[Any]:
    """The same with `positive` alone dealt out, and of that what some users did, or what was done with some items."""
    with _connected(None) as (database, folder):
        _view(database, found, "")
        database.register(WANTED, pa.table({entity: pa.array(wanted, pa.string())}))
        database.execute(f"CREATE OR REPLACE VIEW {taken.POSITIVE} AS {positive()} AND {entity} IN (SELECT * FROM {WANTED})")
        taken.encode(database, folder, taken.POSITIVE)
        yield database


@contextmanager
def _connected(beside: Path | None) -> Iterator[tuple[Any, Path]]:
    import duckdb

    with (
        tempfile.TemporaryDirectory(dir=beside.parent) if beside else workspace() as folder,
        duckdb.connect(str(Path(folder, "features.duckdb"))) as database,
    ):
        database.execute(f"""
            SET TimeZone = 'UTC'; SET preserve_insertion_order = true; SET enable_progress_bar = false;
            SET autoinstall_known_extensions = false; SET memory_limit = '{MEMORY}'; SET temp_directory = '{folder}/spill'""")
        yield database, Path(folder)


def _view(database: Any, found: Tables, known: str) -> None:
    """The tables; and `positive`, events that say a user wanted an item of the catalogue, all in file order."""
    for table in schema.TABLES.values():
        files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in found.paths(table))
        place = "(file_index::BIGINT << 40) + file_row_number AS file_row_number"  # parts are in order, and rows in each
        database.execute(f"""
            CREATE VIEW {table.name} AS SELECT * EXCLUDE (file_row_number), {place}
            FROM read_parquet([{files}], file_row_number = true) {known}""")
    database.execute(f"CREATE VIEW {taken.POSITIVE} AS {positive()}")


def positive() -> str:
    """SQL of the events that say a user wanted an item of the catalogue."""
    return f"""
        SELECT * FROM events
        WHERE {schema.EVENT_TYPE} IN ({_POSITIVE}) AND {schema.ITEM_ID} IN (SELECT {schema.ITEM_ID} FROM items)"""


def asked() -> str:
    """SQL of the events that came of a search, with the query that their text is."""
    return f"""
        SELECT events.*, {schema.QUERY} FROM events JOIN {QUERY_KEYS} USING ({schema.QUERY_TEXT})
        WHERE {schema.EVENT_TYPE} IN ('{schema.EventType.SEARCH}', {_POSITIVE})"""


def _key_queries(database: Any) -> None:
    """A table of every text that was searched for, and the query that it is."""
    database.execute(f"CREATE TABLE {QUERY_KEYS} ({schema.QUERY_TEXT} VARCHAR, {schema.QUERY} VARCHAR)")
    texts = database.cursor().execute(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
    for batch in texts.to_arrow_reader(taken.BATCH_ROWS):
        database.register("keyed", pa.Table.from_batches([keyed(batch)]))
        database.execute(f"INSERT INTO {QUERY_KEYS} SELECT * FROM keyed WHERE {schema.QUERY} <> ''")
        database.unregister("keyed")


def keyed(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Texts that were searched for, each with the query that it is."""
    keys = pa.array([schema.query_key(text) for text in batch.column(schema.QUERY_TEXT).to_pylist()], pa.string())
    return pa.RecordBatch.from_arrays([batch.column(schema.QUERY_TEXT), keys], names=[schema.QUERY_TEXT, schema.QUERY])
