"""Feature tables from the contract's tables, by relations that DuckDB runs out of core; every row says when it became known.

Statistics change at few moments only: when an hour's events enter a window and when they leave it (see `windows`). A row is written at
each, so an as-of join finds the count that held, and the number of rows grows with the events and not with users times hours.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lodestar import schema, storage
from lodestar.arrays import Growing
from lodestar.catalogue import Catalogue
from lodestar.config import Recipe
from lodestar.data.interactions import check_counts
from lodestar.data.splits import last_trained, training_end
from lodestar.data.tables import Tables
from lodestar.features import content, labels, sequences, store, taken, windows
from lodestar.progress import Progress

DATA = "data"
SCALERS = "scalers.json"
MEMORY = "300MB"  # of the database; what does not fit goes to the temporary folder
RECORDED = {schema.USER_PROFILE_VIEW: "users", schema.ITEM_PROFILE_VIEW: "items"}  # views that are columns of a table
RENAMED = {schema.ITEM_LANGUAGE: f"{schema.LANGUAGE} AS {schema.ITEM_LANGUAGE}"}
QUERY_KEYS = "query_keys"
_POSITIVE = ", ".join(f"'{kind}'" for kind in sorted(schema.POSITIVE))


def build_features(tables: Path, target: Path, recipe: Recipe) -> None:
    """Publish a folder of features; DataError E201 where there is too little to learn from. Memory does not grow with the events."""
    found = Tables(root=tables)
    with ExitStack() as stack:
        folder = stack.enter_context(storage.publish_folder(target))
        database = stack.enter_context(opened(found, beside=folder))  # what a killed process leaves there goes with the next one
        progress = stack.enter_context(Progress("build features", 3 + len(schema.VIEWS)))
        (folder / DATA).mkdir()
        end_us = _save_sequences(database, found, folder, recipe)
        progress.advance()
        write_sequences(database, _file(folder, schema.USER_SEQUENCE_VIEW))
        progress.advance()
        scale = counted(database, end_us)
        progress.advance()
        for name, query in (views(database, scale) | {labels.TABLE: labels.query(database, end_us, recipe.data.training_rows)}).items():
            _save(database, query, folder, name)
            progress.advance()
        (folder / SCALERS).write_text(json.dumps(scale, indent=2, sort_keys=True) + "\n")


def _save_sequences(database: Any, found: Tables, folder: Path, recipe: Recipe) -> int:
    """Write what training reads; the moment after which nothing may be learnt."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        names = {"user": taken.NUMBERS[schema.USER_ID], "item": taken.NUMBERS[schema.ITEM_ID], "time": "time"}
        columns = {name: Growing(Path(work, name), np.int64 if name == "time" else np.int32) for name in names}
        end_us = 0
        for rows in sequences.firsts(database):
            for name, column in names.items():
                columns[name].append(rows[column])
            end_us = max(end_us, last_trained(rows[names["user"]], rows["time"]))
        users = taken.names(database, schema.USER_ID)
        items = database.execute(f"SELECT count(*) FROM {taken.NAMES[schema.ITEM_ID]} WHERE events > 0").fetchone()[0]
        check_counts(len(users), items, len(columns["time"]), recipe.data)
        store.save_columns(columns, users, _catalogue(found.items()), folder)
        return training_end(columns["time"].blocks, end_us, recipe.data)


def write_sequences(database: Any, file: Path) -> None:
    """Past the database, which would hold the lists of many users at once."""
    with pq.ParquetWriter(file, sequences.ROWS, compression="zstd") as writer:
        for table in sequences.tables(database):
            writer.write_table(table)


def counted(database: Any, end_us: int) -> dict[str, float]:
    """Make the tables of counts; the scale that they are given at, fitted on what lies before `end_us`."""
    scale: dict[str, float] = {}
    for view in schema.COUNTED:
        windows.count(database, view)
        scale |= windows.largest(database, view, end_us)
    return scale


def views(database: Any, scale: Mapping[str, float]) -> dict[str, str]:
    """SQL of every view but the sequences by its name, the entity's column first, where counts are made."""
    queries = {view.name: windows.scaled_rows(view, scale) for view in schema.COUNTED}
    queries |= {name: content.rows(database, name) for name in content.VIEWS}
    return queries | {name: _recorded(schema.VIEWS[name], table) for name, table in RECORDED.items()}


def _catalogue(items: Any) -> Catalogue:
    return Catalogue(
        ids=items[schema.ITEM_ID].to_pylist(),
        titles=items[schema.TITLE].to_pylist(),
        categories=[path[0] if path else "" for path in items[schema.CATEGORY_PATH].to_pylist()],
        is_active=items[schema.IS_ACTIVE].fill_null(True).to_numpy(),
    )


@contextmanager
def opened(found: Tables, known_by_us: int | None = None, beside: Path | None = None) -> Iterator[Any]:
    """The tables as views; `positive`, events that say a user wanted an item of the catalogue, and `asked`, those that came of a search,
    both in file order; and these dealt out by `taken`.

    With `known_by_us` they hold only what had become known by then. What does not fit into memory lies `beside` a path, or in the
    system's folder for such.
    """
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="lodestar-features-", dir=beside and beside.parent) as folder,
        duckdb.connect(str(Path(folder, "features.duckdb"))) as database,
    ):
        database.execute(f"""
            SET TimeZone = 'UTC'; SET preserve_insertion_order = true; SET enable_progress_bar = false;
            SET memory_limit = '{MEMORY}'; SET temp_directory = '{folder}/spill'""")
        known = "" if known_by_us is None else f" WHERE epoch_us({schema.INGESTED_AT}) <= {known_by_us}"
        for table in schema.TABLES.values():
            files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in found.paths(table))
            place = "(file_index::BIGINT << 40) + file_row_number AS file_row_number"  # parts are in order, and rows in each
            database.execute(f"""
                CREATE VIEW {table.name} AS SELECT * EXCLUDE (file_row_number), {place}
                FROM read_parquet([{files}], file_row_number = true){known}""")
        database.execute(f"""
            CREATE VIEW {taken.POSITIVE} AS SELECT * FROM events
            WHERE {schema.EVENT_TYPE} IN ({_POSITIVE}) AND {schema.ITEM_ID} IN (SELECT {schema.ITEM_ID} FROM items)""")
        _key_queries(database)
        database.execute(f"""
            CREATE VIEW {taken.ASKED} AS SELECT events.*, {schema.QUERY} FROM events JOIN {QUERY_KEYS} USING ({schema.QUERY_TEXT})
            WHERE {schema.EVENT_TYPE} IN ('{schema.EventType.SEARCH}', {_POSITIVE})""")
        for relation in taken.DEALT:
            taken.encode(database, Path(folder), relation)
        yield database


def _key_queries(database: Any) -> None:
    """A table of every text that was searched for, and the query that it is."""
    database.execute(f"CREATE TABLE {QUERY_KEYS} ({schema.QUERY_TEXT} VARCHAR, {schema.QUERY} VARCHAR)")
    texts = database.cursor().execute(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
    for batch in texts.to_arrow_reader(taken.BATCH_ROWS):
        keys = pa.array([schema.query_key(text) for text in batch[schema.QUERY_TEXT].to_pylist()], pa.string())
        database.register("keyed", pa.table([batch[schema.QUERY_TEXT], keys], names=[schema.QUERY_TEXT, schema.QUERY]))
        database.execute(f"INSERT INTO {QUERY_KEYS} SELECT * FROM keyed WHERE {schema.QUERY} <> ''")
        database.unregister("keyed")


def _recorded(view: schema.View, table: str) -> str:
    columns = ", ".join(RENAMED.get(feature.name, feature.name) for feature in view.features)
    return f"""
        SELECT {view.entity}, {columns}, {schema.UPDATED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
        FROM {table} ORDER BY {view.entity}"""


def _file(folder: Path, view: str) -> Path:
    return folder / DATA / f"{view}.parquet"


def _save(database: Any, query: str, folder: Path, name: str) -> None:
    target = str(_file(folder, name)).replace("'", "''")
    database.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
