"""DuckDB views of the contract's tables, and the views of events that features are built from, out of core."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.tables.tables import Tables
from lodestar.features.batch import event_partitions
from lodestar.features.batch.feedback_events import FEEDBACK, WITHDRAWN, EventRules, types_query, withdrawn_users_query
from lodestar.io.disk_database import open_database
from lodestar.io.private_folders import workspace
from lodestar.schema import feedback
from lodestar.schema.feedback import Feedback

MEMORY = "230MB"  # of the database; the rest spills to the temporary folder
QUERY_KEYS, WANTED, RULES = "query_keys", "wanted_entities", "feedback_rules"


@contextmanager
def connect(tables: Tables, known_by_us: int | None = None, spill_near: Path | None = None) -> Iterator[Any]:
    """DuckDB database with the tables as views, and the events of FEEDBACK and SEARCHES partitioned by entity.

    With `known_by_us` (UTC µs) it holds only rows known by then. Temporary files are written next to the path `spill_near`, or in the
    system's temporary folder.
    """
    known = "" if known_by_us is None else f"WHERE epoch_us({schema.INGESTED_AT}) <= {known_by_us}"
    with _temporary_database(spill_near) as (database, folder):
        _create_views(database, tables, known)
        _key_queries(database)
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
    """DuckDB database with `feedback` limited to events of the given entities (ids of users or items), and partitioned."""
    with _temporary_database(None) as (database, folder):
        rules = _create_views(database, tables, "")
        database.register(WANTED, pa.table({entity: pa.array(entities, pa.string())}))
        limited = f"{rules.feedback_events()} AND {entity} IN (SELECT * FROM {WANTED})"
        database.execute(f"CREATE OR REPLACE VIEW {FEEDBACK} AS {limited}")
        event_partitions.partition_events(database, folder, FEEDBACK)
        yield database


def rules_of(database: Any) -> Feedback:
    """The rules of feedback that the views of a database follow, with the seen types of its log."""
    ((content,),) = database.execute(f"SELECT rules FROM {RULES}").fetchall()
    return feedback.from_json(json.loads(content))


@contextmanager
def _temporary_database(spill_near: Path | None) -> Iterator[tuple[Any, Path]]:
    """Empty DuckDB database in a temporary folder, and that folder."""
    with (
        tempfile.TemporaryDirectory(dir=spill_near.parent) if spill_near else workspace() as folder,
        open_database(Path(folder, "features.duckdb"), MEMORY) as database,
    ):
        yield database, Path(folder)


def _create_views(database: Any, tables: Tables, known: str) -> EventRules:
    """Create views of the tables and of events under the rules of feedback, all in file order; returns the rules.

    Consent and the types of the log are those of all rows, not only of those known: who withdrew trains nothing at any time.
    """
    for table in schema.TABLES.values():
        database.execute(f"CREATE VIEW {table.name} AS {_rows(tables, table)}")
    declared, has_withdrawn = tables.feedback() or Feedback(), _create_withdrawn(database)
    types = () if declared.seen else [event_type for event_type, _ in database.execute(types_query()).fetchall()]
    rules = EventRules(feedback=declared.resolved(types), has_withdrawn=has_withdrawn)
    if known:
        for table in schema.TABLES.values():
            database.execute(f"CREATE OR REPLACE VIEW {table.name} AS {_rows(tables, table)} {known}")
    database.execute(f"CREATE TABLE {RULES} AS SELECT ? AS rules", [json.dumps(rules.feedback.to_json())])
    database.execute(f"CREATE TABLE {QUERY_KEYS} ({schema.QUERY_TEXT} VARCHAR, {schema.QUERY} VARCHAR)")
    for name, query in rules.views(QUERY_KEYS).items():
        database.execute(f"CREATE VIEW {name} AS {query}")
    return rules


def _rows(tables: Tables, table: schema.Table) -> str:
    """SQL of a table's rows, each with its position in the log."""
    files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in tables.paths(table))
    row_number = "(file_index::BIGINT << 40) + file_row_number AS file_row_number"  # parts are in order, and so are the rows of each
    return f"SELECT * EXCLUDE (file_row_number), {row_number} FROM read_parquet([{files}], file_row_number = true)"


def _create_withdrawn(database: Any) -> bool:
    """Create the table of users who withdrew consent to be trained on; returns whether there are any."""
    database.execute(f"CREATE TABLE {WITHDRAWN} AS {withdrawn_users_query()}")
    (count,) = database.execute(f"SELECT count(*) FROM {WITHDRAWN}").fetchone()
    return bool(count)


def _key_queries(database: Any) -> None:
    """Fill the table of all search texts and their normalised queries."""
    texts = database.cursor().execute(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
    for batch in texts.to_arrow_reader(event_partitions.BATCH_ROWS):
        database.register("keyed", pa.Table.from_batches([with_query_key(batch)]))
        database.execute(f"INSERT INTO {QUERY_KEYS} SELECT * FROM keyed WHERE {schema.QUERY} <> ''")
        database.unregister("keyed")


def with_query_key(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Search texts with their normalised query (`schema.query_key`), (query_text, query)."""
    keys = pa.array([schema.query_key(text) for text in batch.column(schema.QUERY_TEXT).to_pylist()], pa.string())
    return pa.RecordBatch.from_arrays([batch.column(schema.QUERY_TEXT), keys], names=[schema.QUERY_TEXT, schema.QUERY])
