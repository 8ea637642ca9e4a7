"""Feature tables from the contract's tables, by relations that DuckDB runs out of core; every row says when it became known.

Statistics change at few moments only: when an hour's events enter a window and when they leave it (see `windows`). A row is written at
each, so an as-of join finds the count that held, and the number of rows grows with the events and not with users times hours.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lodestar import schema, storage
from lodestar.catalogue import Catalogue
from lodestar.config import Recipe
from lodestar.data.interactions import Interactions, check_enough, from_events
from lodestar.data.splits import training_end
from lodestar.data.tables import Tables
from lodestar.features import labels, store, windows
from lodestar.progress import Progress

DATA = "data"
SCALERS = "scalers.json"
MEMORY = "1GB"  # of the database; what does not fit goes to the temporary folder
USER_COLUMNS = (schema.USER_ID, schema.COUNTRY, schema.LANGUAGE, schema.SEGMENTS)
EVENT_COLUMNS = (schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME)
ITEM_COLUMNS = (schema.ITEM_ID, schema.ITEM_TYPE, schema.TITLE, schema.CATEGORY_PATH, schema.PRICE)
_POSITIVE = ", ".join(f"'{kind}'" for kind in sorted(schema.POSITIVE))


def build_features(tables: Path, target: Path, recipe: Recipe) -> None:
    """Publish a folder of features; DataError E201 where there is too little to learn from."""
    found = Tables(root=tables)
    items = found.items()
    interactions = from_events(found.events(EVENT_COLUMNS), items)
    check_enough(interactions, recipe.data)
    with storage.publish_folder(target) as folder, Progress("build features", 7) as progress:
        (folder / DATA).mkdir()
        store.save(interactions, _catalogue(items), folder)
        progress.advance()
        with opened(found) as database:
            _write_tables(database, folder, interactions, recipe, progress)


def _write_tables(database: Any, folder: Path, interactions: Interactions, recipe: Recipe, progress: Progress) -> None:
    end_us = training_end(interactions, recipe.data)
    queries, scalers = views(database, end_us)
    for name, query in (queries | {labels.TABLE: labels.query(database, end_us, recipe.data.training_rows)}).items():
        _save(database, query, folder, name)
        progress.advance()
    (folder / SCALERS).write_text(json.dumps(scalers, indent=2, sort_keys=True) + "\n")


def views(database: Any, end_us: int, scale: Mapping[str, float] | None = None) -> tuple[dict[str, str], dict[str, float]]:
    """SQL of every feature view by its name, the entity's column first, and the scale of counts: fitted until `end_us` if none is given."""
    queries, scalers = {}, dict(scale or {})
    for view in (schema.USER_ACTIVITY_VIEW, schema.ITEM_STATS_VIEW):
        features = [feature for feature in schema.WINDOWED if feature.view == view]
        windows.count(database, features)
        if scale is None:
            scalers |= windows.largest(database, features, end_us)
        queries[view] = windows.scaled_rows(features, scalers)
    queries[schema.USER_SEQUENCE_VIEW] = _sequences()
    queries[schema.USER_PROFILE_VIEW] = _profiles("users", USER_COLUMNS)
    queries[schema.ITEM_PROFILE_VIEW] = _profiles("items", ITEM_COLUMNS)
    return queries, scalers


def _catalogue(items: Any) -> Catalogue:
    return Catalogue(
        ids=items[schema.ITEM_ID].to_pylist(),
        titles=items[schema.TITLE].to_pylist(),
        categories=[path[0] if path else "" for path in items[schema.CATEGORY_PATH].to_pylist()],
        is_active=items[schema.IS_ACTIVE].fill_null(True).to_numpy(),
    )


def opened(found: Tables, known_by_us: int | None = None) -> Any:
    """The four tables as views, and `positive`: events that say a user wanted an item of the catalogue, numbered in file order.

    With `known_by_us` they hold only what had become known by then.
    """
    import duckdb

    database = duckdb.connect()
    spill = f"{tempfile.gettempdir()}/lodestar-features-{os.getpid()}"
    database.execute(
        f"SET TimeZone = 'UTC'; SET preserve_insertion_order = true; SET memory_limit = '{MEMORY}'; SET temp_directory = '{spill}'"
    )
    known = "" if known_by_us is None else f" WHERE epoch_us({schema.INGESTED_AT}) <= {known_by_us}"
    for table in schema.TABLES.values():
        files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in found.paths(table))
        place = "(file_index::BIGINT << 40) + file_row_number AS file_row_number"  # parts are in order, and rows in each
        database.execute(f"""
            CREATE VIEW {table.name} AS SELECT * EXCLUDE (file_row_number), {place}
            FROM read_parquet([{files}], file_row_number = true){known}""")
    database.execute(f"""
        CREATE VIEW positive AS SELECT * FROM events
        WHERE {schema.EVENT_TYPE} IN ({_POSITIVE}) AND {schema.ITEM_ID} IN (SELECT {schema.ITEM_ID} FROM items)""")
    return database


def _sequences() -> str:
    """Each user's last items, oldest first, a repeated item at its first time: what the model is given.

    Structures are put in order once they are together: a list that is kept in order while it grows has a buffer of its own for every
    user (10M events: 1.2 GB instead of more than 18).
    """
    order = f"{schema.EVENT_TIME}, file_row_number"
    lists = ", ".join(
        f"list_transform(recent, lambda one: one.{part}) AS {name}"
        for part, name in (("item", schema.RECENT_ITEMS), ("type", schema.RECENT_TYPES), ("gap", schema.RECENT_GAPS_S))
    )
    one = f"{{'age': age, 'item': {schema.ITEM_ID}, 'type': {schema.EVENT_TYPE}, 'gap': coalesce(gap, 0)::FLOAT}}"
    return f"""
        WITH firsts AS (
            SELECT {", ".join((*EVENT_COLUMNS, schema.INGESTED_AT))}, file_row_number FROM positive
            QUALIFY row_number() OVER (PARTITION BY {schema.USER_ID}, {schema.ITEM_ID} ORDER BY {order}) = 1),
        ranked AS (
            SELECT *, row_number() OVER (PARTITION BY {schema.USER_ID} ORDER BY {schema.EVENT_TIME} DESC, file_row_number DESC) AS age,
                epoch({schema.EVENT_TIME}) - lag(epoch({schema.EVENT_TIME})) OVER (PARTITION BY {schema.USER_ID} ORDER BY {order}) AS gap
            FROM firsts),
        gathered AS (
            SELECT {schema.USER_ID}, list_reverse_sort(list({one})) AS recent,
                max({schema.EVENT_TIME}) AS {schema.FEATURE_TIME}, max({schema.INGESTED_AT}) AS {schema.KNOWN_TIME}
            FROM ranked WHERE age <= {schema.MAX_HISTORY} GROUP BY {schema.USER_ID})
        SELECT {schema.USER_ID}, {lists}, {schema.FEATURE_TIME}, {schema.KNOWN_TIME} FROM gathered ORDER BY {schema.USER_ID}"""


def _profiles(table: str, columns: tuple[str, ...]) -> str:
    return f"""
        SELECT {", ".join(columns)}, {schema.UPDATED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
        FROM {table} ORDER BY {columns[0]}"""


def _save(database: Any, query: str, folder: Path, name: str) -> None:
    target = str(folder / DATA / f"{name}.parquet").replace("'", "''")
    database.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
