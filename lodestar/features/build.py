"""Feature tables from the contract's tables, by relations that DuckDB runs out of core; every row says when it became known.

Statistics change at few moments only: when an hour's events enter a window and when they leave it (see `windows`). A row is written at
each, so an as-of join finds the count that held, and the number of rows grows with the events and not with users times hours.
"""

import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from lodestar import schema, storage
from lodestar.arrays import Growing
from lodestar.catalogue import Catalogue
from lodestar.config import Recipe
from lodestar.data.interactions import check_counts
from lodestar.data.splits import last_trained, training_end
from lodestar.data.tables import Tables
from lodestar.features import content, generation, labels, origin, rated, sequences, store, taken, windows
from lodestar.features.relations import opened
from lodestar.progress import Progress
from lodestar.schema.places import RATINGS

RECORDED = {schema.USER_PROFILE_VIEW: "users", schema.ITEM_PROFILE_VIEW: "items"}  # views that are columns of a table
RENAMED = {schema.ITEM_LANGUAGE: f"{schema.LANGUAGE} AS {schema.ITEM_LANGUAGE}"}


def build_features(tables: Path, target: Path, recipe: Recipe) -> None:
    """Publish a folder of features; DataError E201 where there is too little to learn from. Memory does not grow with the events."""
    found = Tables(root=tables)
    with ExitStack() as stack:
        folder = stack.enter_context(storage.publish_folder(target))
        database = stack.enter_context(opened(found, beside=folder))  # what a killed process leaves there goes with the next one
        progress = stack.enter_context(Progress("build features", 4 + len(schema.VIEWS)))
        (folder / store.DATA).mkdir()
        end_us = _save_sequences(database, found, folder, recipe)
        progress.advance()
        write_sequences(database, _file(folder, schema.USER_SEQUENCE_VIEW))
        progress.advance()
        scale = counted(database, end_us)
        progress.advance()
        has_impressions = database.execute("SELECT EXISTS (SELECT 1 FROM impressions)").fetchone()[0]
        wanted = labels.Labels(has_impressions=has_impressions, end_us=end_us, most_rows=recipe.data.training_rows)
        database.execute(f"CREATE TABLE {labels.LATEST} AS {labels.latest(wanted)}")
        beside = {labels.TABLE: labels.query(wanted), RATINGS: rated.query()}
        for name, query in (views(database, scale) | beside).items():
            _save(database, query, folder, name)
            progress.advance()
        (folder / store.SCALERS).write_text(json.dumps(scale, indent=2, sort_keys=True) + "\n")
        origin.write(folder, found)
        generation.write(folder, database)


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
        store.save_columns(columns, users, catalogue(found.items()), folder)
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
    return queries | recorded()


def catalogue(items: Any) -> Catalogue:
    paths, tags = (items[name].to_pylist() for name in (schema.CATEGORY_PATH, schema.TAGS))
    return Catalogue(
        ids=items[schema.ITEM_ID].to_pylist(),
        titles=items[schema.TITLE].to_pylist(),
        categories=[path[0] if path else "" for path in paths],
        is_active=items[schema.IS_ACTIVE].fill_null(True).to_numpy(),
        marks=[
            (*(f"category {part}" for part in path or ()), *(f"tag {tag}" for tag in own or ()))
            for path, own in zip(paths, tags, strict=True)
        ],
    )


def recorded() -> dict[str, str]:
    """SQL of the views that are columns of a table."""
    queries = {}
    for name, table in RECORDED.items():
        view = schema.VIEWS[name]
        columns = ", ".join(RENAMED.get(feature.name, feature.name) for feature in view.features)
        queries[name] = f"""
            SELECT {view.entity}, {columns}, {schema.UPDATED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
            FROM {table} ORDER BY {view.entity}"""
    return queries


def _file(folder: Path, view: str) -> Path:
    return folder / store.DATA / f"{view}.parquet"


def _save(database: Any, query: str, folder: Path, name: str) -> None:
    target = str(_file(folder, name)).replace("'", "''")
    database.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
