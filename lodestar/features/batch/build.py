"""Build feature tables from the contract's tables with DuckDB, out of core; every row has the time from which it is known.

Counts change only when an hour's events enter or leave a window (see `windows`). A row is written at each change, so an as-of join finds
the valid count, and the number of rows grows with events, not with users times hours.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lodestar import schema
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import Recipe
from lodestar.data.tables.tables import Tables
from lodestar.features.batch import (
    count_tables,
    duckdb_views,
    event_partitions,
    feature_set,
    generation,
    labels,
    lineage,
    ratings_table,
    sequences,
    user_filters,
)
from lodestar.features.batch.duckdb_views import connect
from lodestar.features.batch.feature_set import FeedbackCounts
from lodestar.features.batch.feedback_events import types_query, withdrawn_events_query
from lodestar.features.batch.interaction_columns import InteractionColumns, TrainingCutoffs
from lodestar.features.text import content
from lodestar.io import storage
from lodestar.progress import Progress
from lodestar.schema.arrays import Bool, Flags
from lodestar.schema.store_keys import RATINGS

RECORDED = {schema.USER_PROFILE_VIEW: "users", schema.ITEM_PROFILE_VIEW: "items"}  # views that are columns of a table
USER_VIEWS = {schema.USER_SEQUENCE_VIEW: sequences.ROWS, schema.USER_FILTER_VIEW: user_filters.ROWS}
RENAMED = {schema.ITEM_LANGUAGE: f"{schema.LANGUAGE} AS {schema.ITEM_LANGUAGE}"}


def build_features(tables_folder: Path, features: Path, recipe: Recipe) -> None:
    """Build features from `tables_folder` and publish them as the folder `features`; memory does not grow with the number of events.

    DataError E203 for fewer users, items or interactions than the recipe requires, E206 if no event is positive, E151 for a missing table.
    UsageError E301 where `features` is something else than features.
    """
    storage.refuse_other_folder(features, feature_set.SEQUENCE_FILE)
    tables = Tables(root=tables_folder)
    with ExitStack() as stack:
        folder = stack.enter_context(storage.publish_folder(features))
        database = stack.enter_context(connect(tables, spill_near=folder))  # leftovers of a killed process are removed by the next one
        progress = stack.enter_context(Progress("build features", 1 + len(schema.VIEWS)))
        (folder / feature_set.DATA).mkdir()
        cutoffs, counts = _save_interactions(database, tables, folder, recipe)
        feature_set.write_feedback(folder, duckdb_views.rules_of(database), counts)
        progress.advance()
        scale = _save_counts(database, folder, cutoffs.end_us, progress)
        has_impressions = database.execute("SELECT EXISTS (SELECT 1 FROM impressions)").fetchone()[0]
        label_query = labels.LabelQuery(
            has_impressions=has_impressions, end_us=cutoffs.end_us, most_rows=recipe.data.training_rows, has_refusals=counts.negative > 0
        )
        database.register(labels.CUTOFFS, cutoffs.by_user)
        database.execute(f"CREATE TABLE {labels.LATEST} AS {labels.latest(label_query)}")
        other_tables = {labels.TABLE: labels.query(label_query), RATINGS: ratings_table.query()}
        for name, query in (views(database) | other_tables).items():
            _save(database, query, folder, name)
            progress.advance()
        (folder / feature_set.SCALERS).write_text(json.dumps(scale, indent=2, sort_keys=True) + "\n")
        lineage.write(folder, tables)
        generation.write(folder, database)


def _save_interactions(database: Any, tables: Tables, folder: Path, recipe: Recipe) -> tuple[TrainingCutoffs, FeedbackCounts]:
    """Write the interactions for training and the views of user sequences and filters, in one pass over the events.

    Returns the training cutoffs, and how many events are of which sign.
    """
    users, items = (event_partitions.ids(database, entity) for entity in (schema.USER_ID, schema.ITEM_ID))
    rules = duckdb_views.rules_of(database)
    filtered, cut = 0, 0
    with ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(dir=folder))
        # Past DuckDB, which would hold the lists of many users in memory.
        writers = [stack.enter_context(view_writer(_file(folder, name), of)) for name, of in USER_VIEWS.items()]
        columns = InteractionColumns(Path(work), rules)
        for events in sequences.user_events(database):
            columns.append(events, users)
            filters, is_cut = user_filters.rows(events, users, rules)
            for writer, table in zip(writers, (sequences.recent(events, users, items), filters), strict=True):
                writer.write_table(table)
            filtered, cut = filtered + len(filters), cut + int(is_cut.sum())
        cutoffs = columns.save(catalogue(tables.items()), folder, recipe.data, lambda: dict(database.execute(types_query()).fetchall()))
    (withdrawn,) = database.execute(withdrawn_events_query()).fetchall()
    return cutoffs, replace(feedback_counts(columns, *withdrawn), filtered_users=filtered, cut_users=cut)


def feedback_counts(columns: InteractionColumns, withdrawn_events: int, withdrawn_users: int) -> FeedbackCounts:
    """Counts of the events that interactions were chosen from, and of those that users who withdrew consent have."""
    positive, negative, neutral = columns.counts.tolist()
    return FeedbackCounts(
        positive=positive, negative=negative, neutral=neutral, withdrawn_events=withdrawn_events, withdrawn_users=withdrawn_users
    )


def user_rows(database: Any) -> Iterator[tuple["pa.Table", "pa.Table", Bool[Flags, " rows"]]]:
    """Rows of the views of user sequences and user filters, some users at a time, and whether the items of each filter were cut."""
    users, items = (event_partitions.ids(database, entity) for entity in (schema.USER_ID, schema.ITEM_ID))
    rules = duckdb_views.rules_of(database)
    for events in sequences.user_events(database):
        filters, is_cut = user_filters.rows(events, users, rules)
        yield sequences.recent(events, users, items), filters, is_cut


def _save_counts(database: Any, folder: Path, end_us: int, progress: Progress) -> dict[str, float]:
    """Write the views of counts; returns the scale of each count, its maximum up to `end_us` (UTC µs)."""
    scale: dict[str, float] = {}
    for view in schema.COUNT_VIEWS:
        ids = event_partitions.ids(database, view.entity)
        shape = count_tables.rows_schema(view)
        with tempfile.TemporaryDirectory(dir=folder) as work, view_writer(_file(folder, view.name), shape) as writer:
            counts = count_tables.count(database, view, end_us, Path(work, view.name))
            for rows in count_tables.scaled_rows(counts, ids, counts.scale):
                writer.write_table(rows)
        scale |= counts.scale
        progress.advance()
    return scale


def view_writer(file: Path, shape: pa.Schema) -> pq.ParquetWriter:
    """Parquet writer of a view's tables. A row group's column is one page, compressed as a whole: as small as DuckDB's files."""
    rows = count_tables.ROWS_AT_ONCE
    return pq.ParquetWriter(file, shape, compression="zstd", compression_level=3, max_rows_per_page=rows)


def views(database: Any) -> dict[str, str]:
    """SQL of every view except counts, user sequences and user filters, by name, entity column first."""
    return {name: content.rows(database, name) for name in content.VIEWS} | column_view_queries()


def catalogue(items: Any) -> Catalogue:
    """The catalogue of an items table (Arrow): ids, titles, first category, activity, and categories and tags as tokens."""
    paths, tags = (items[name].to_pylist() for name in (schema.CATEGORY_PATH, schema.TAGS))
    return Catalogue(
        ids=items[schema.ITEM_ID].to_pylist(),
        titles=items[schema.TITLE].to_pylist(),
        categories=[path[0] if path else "" for path in paths],
        is_active=items[schema.IS_ACTIVE].fill_null(True).to_numpy(),
        categories_and_tags=[
            (*(f"category {part}" for part in path or ()), *(f"tag {tag}" for tag in item_tags or ()))
            for path, item_tags in zip(paths, tags, strict=True)
        ],
    )


def column_view_queries() -> dict[str, str]:
    """SQL of the profile views, which are columns of the users and items tables, by name."""
    queries = {}
    for name, table in RECORDED.items():
        view = schema.VIEWS[name]
        columns = ", ".join(RENAMED.get(feature.name, feature.name) for feature in view.features)
        queries[name] = f"""
            SELECT {view.entity}, {columns}, {schema.UPDATED_AT} AS {schema.FEATURE_TIME}, {schema.INGESTED_AT} AS {schema.KNOWN_TIME}
            FROM {table} ORDER BY {view.entity}"""
    return queries


def _file(folder: Path, view: str) -> Path:
    return folder / feature_set.DATA / f"{view}.parquet"


def _save(database: Any, query: str, folder: Path, name: str) -> None:
    target = str(_file(folder, name)).replace("'", "''")
    database.execute(f"COPY ({query}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
