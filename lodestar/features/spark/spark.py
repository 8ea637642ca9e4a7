"""Feature build on Spark, for logs too large for one machine: the same tables as the DuckDB build, row for row.

Relational queries are translated from DuckDB's dialect; features computed per entity run the same code on Arrow batches that hold all
events of their entities. The driver only writes the interactions for training, into one file.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlglot

from lodestar import schema
from lodestar.config import Recipe
from lodestar.data.tables.tables import Tables
from lodestar.errors import EnvironmentFault
from lodestar.features.batch import build, duckdb_views, event_partitions, feature_set, generation, labels, lineage, ratings_table
from lodestar.features.batch.feature_set import FeedbackCounts
from lodestar.features.batch.feedback_events import (
    FEEDBACK,
    SIGN,
    WITHDRAWN,
    EventRules,
    types_query,
    withdrawn_events_query,
    withdrawn_users_query,
)
from lodestar.features.batch.interaction_columns import InteractionColumns, TrainingCutoffs
from lodestar.features.batch.sequences import ITEM, USER, UserEvents, makes_seen_by_type
from lodestar.features.spark import spark_mappers
from lodestar.features.spark.spark_mappers import CUT, FILE_ROW_NUMBER, FIRST, INTERACTION_COLUMNS, IS_KEPT, NTH
from lodestar.features.text import content
from lodestar.io import storage
from lodestar.progress import Progress
from lodestar.schema import View
from lodestar.schema.feedback import Feedback
from lodestar.schema.store_keys import RATINGS
from lodestar.schema.time_units import HOUR_US

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH_ROWS, INTERACTIONS, LOCAL_PARTITIONS = 100_000, "interactions", 16
ITEM_NUMBERS = "item_numbers"
# Spark's names of functions that sqlglot does not translate.
FUNCTIONS = {"EPOCH_US": "UNIX_MICROS", "MAKE_TIMESTAMPTZ": "TIMESTAMP_MICROS"}
_SPARK_TYPES = {"text": "string", "texts": "array<string>", "f4": "float", "f8": "double", "f4s": "array<float>", "bytes": "binary"}


def build_features(tables_folder: Path, features: Path, recipe: Recipe, session: "SparkSession") -> None:
    """Publish the same folder of features as `build.build_features`, with a folder of Parquet files per view.

    Both paths must be on a volume that all workers share. DataError E203 where there are too few interactions, UsageError E301 as there.
    """
    storage.refuse_other_folder(features, feature_set.SEQUENCE_FILE)
    tables = Tables(root=tables_folder)
    with storage.publish_folder(features) as folder, Progress("build features on Spark", 5 + len(schema.VIEWS)) as progress:
        spark = _Spark(session, folder, progress)
        spark.view(tables)
        cutoffs, counts = _save_interactions(spark, tables, folder, recipe)
        scale = {name: value for view in schema.COUNT_VIEWS for name, value in spark.count(view, cutoffs.end_us).items()}
        for view in schema.COUNT_VIEWS:
            spark.save(view.name, spark.scale_counts(view, scale))
        spark.save(schema.USER_SEQUENCE_VIEW, spark.sequences())
        filtered_users, cut_users = spark.filters()
        counts = replace(counts, filtered_users=filtered_users, cut_users=cut_users)
        feature_set.write_feedback(folder, spark.rules.feedback, counts)
        for name in content.VIEWS:
            spark.save(name, spark.embeddings(name))
        for name, query in build.column_view_queries().items():
            spark.save(name, spark.query(query))
        has_impressions = spark.query("SELECT 1 FROM impressions LIMIT 1").count() > 0
        label_query = labels.LabelQuery(
            has_impressions=has_impressions, end_us=cutoffs.end_us, most_rows=recipe.data.training_rows, has_refusals=counts.negative > 0
        )
        spark.view_of(labels.CUTOFFS, cutoffs.by_user)
        # Materialised as files: with the limit inside the joined query Spark would not guarantee the latest rows.
        spark.materialise(labels.LATEST, spark.query(labels.latest(label_query)))
        spark.save(labels.TABLE, spark.query(labels.query(label_query)))
        spark.save(RATINGS, spark.query(ratings_table.query()))
        (folder / feature_set.SCALERS).write_text(json.dumps(scale, indent=2, sort_keys=True) + "\n")
        lineage.write(folder, tables)
        generation.write(folder)


@contextmanager
def session(master: str) -> Iterator["SparkSession"]:
    """Spark session with the settings of the build; `master` is like `local[2]`, or empty under spark-submit.

    EnvironmentFault E524 if Spark does not start: its package or Java is missing, or there is no such master.
    """
    remedy = "Check --spark, that `pip install pyspark` has been run, and that java -version answers."
    try:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise EnvironmentFault("E524", f"Spark cannot start ({error})", remedy=remedy) from error

    builder = SparkSession.builder.appName("lodestar-features")
    settings = {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.parquet.compression.codec": "zstd",
        "spark.sql.execution.arrow.maxRecordsPerBatch": BATCH_ROWS,
        "spark.sql.ansi.enabled": "true",
    }
    if master:
        settings |= {"spark.master": master, "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": LOCAL_PARTITIONS}
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # workers run what the driver runs
    for name, value in settings.items():
        builder = builder.config(name, value)
    try:
        spark = builder.getOrCreate()
    except (PySparkException, Py4JError) as error:
        raise EnvironmentFault("E524", f"Spark cannot start ({str(error).splitlines()[0]})", remedy=remedy) from error
    try:
        yield spark
    finally:
        spark.stop()


def translate_query(query: str) -> str:
    """A DuckDB query translated to Spark's dialect."""
    (translated_query,) = sqlglot.transpile(re.sub(r"\bAS MATERIALIZED\b", "AS", query), read="duckdb", write="spark")
    return re.sub(r"\b(" + "|".join(FUNCTIONS) + r")\b", lambda name: FUNCTIONS[name[0]], translated_query)


class _Spark:
    """Spark session with the contract's tables as views, and the folder of features to write."""

    def __init__(self, session: "SparkSession", folder: Path, progress: Progress) -> None:
        self.session, self.folder, self.progress, self.rules = session, folder, progress, EventRules()
        (folder / feature_set.DATA).mkdir()

    def query(self, query: str) -> "DataFrame":
        """Run a query in DuckDB's dialect."""
        return self.session.sql(translate_query(query))

    def view(self, tables: Tables) -> None:
        """Create views of the tables, with each row's position in the log, and of the events that features are built from."""
        from pyspark.sql import functions as sql

        part_names = sql.concat_ws("/", sql.slice(sql.split(sql.col("_metadata.file_path"), "/"), -2, 2))  # month and part
        for table in schema.TABLES.values():
            paths = [(tables.root / name).absolute() for name in tables.names(table)]  # other machines read them
            parts = [quote(f"{path.parent.name}/{path.name}") for path in paths]
            numbers = sql.create_map(*(sql.lit(entry) for index, part in enumerate(parts) for entry in (part, index)))
            rows = self.session.read.parquet(*map(str, paths))
            file_row_number = sql.shiftleft(numbers[part_names].cast("long"), 40) + sql.col("_metadata.row_index")
            rows.withColumn(FILE_ROW_NUMBER, file_row_number).createOrReplaceTempView(table.name)
        self.query(withdrawn_users_query()).createOrReplaceTempView(WITHDRAWN)
        declared, has_withdrawn = tables.feedback() or Feedback(), self.query(f"SELECT 1 FROM {WITHDRAWN} LIMIT 1").count() > 0
        types = () if declared.seen else [str(event_type) for event_type, _ in self.query(types_query()).collect()]
        self.rules = EventRules(feedback=declared.resolved(types), has_withdrawn=has_withdrawn)
        texts = self.query(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
        keyed = texts.mapInArrow(spark_mappers.with_query_key, f"{schema.QUERY_TEXT} string, {schema.QUERY} string").where(
            f"{schema.QUERY} <> ''"
        )
        keyed.createOrReplaceTempView(duckdb_views.QUERY_KEYS)
        for name, query in self.rules.views(duckdb_views.QUERY_KEYS).items():
            self.query(query).createOrReplaceTempView(name)
        self.query(
            f"SELECT {schema.ITEM_ID}, (row_number() OVER (ORDER BY {FILE_ROW_NUMBER}) - 1)::INTEGER AS {ITEM} FROM items"
        ).createOrReplaceTempView(ITEM_NUMBERS)

    def by_entity(self, entity: str, columns: Sequence[str]) -> "DataFrame":
        """Events of an entity's view of events, partitioned by entity, each in the order of the log."""
        events_view = next(name for name, entities in event_partitions.PARTITION_KEYS.items() if entity in entities)
        times = f"epoch_us({schema.EVENT_TIME}) AS time, epoch_us({schema.INGESTED_AT}) AS known"
        numbers = f"JOIN {ITEM_NUMBERS} USING ({schema.ITEM_ID})" if ITEM in columns else ""
        rows = self.query(
            f"SELECT {', '.join(columns)}, {times}, {schema.EVENT_TYPE}, {SIGN}, {FILE_ROW_NUMBER} FROM {events_view} {numbers}"
        )
        return rows.repartition(entity).sortWithinPartitions(entity, FILE_ROW_NUMBER)

    def count(self, view: View, end_us: int) -> dict[str, float]:
        """Materialise the counts of a view beside the features; returns their scale, fitted on hours until `end_us` (UTC µs)."""
        names = ", ".join(f"{name} int" for name in view.count_names)
        rows = self.by_entity(view.entity, [view.entity]).mapInArrow(
            spark_mappers.counter(view), f"{view.entity} string, hour int, {names}"
        )
        counts = self.materialise(view.name, rows).where(f"cast(hour AS bigint) * {HOUR_US} <= {end_us}")
        (maxima,) = counts.agg(dict.fromkeys(view.count_names, "max")).collect()
        return {name: max(1.0, float(maxima[f"max({name})"] or 1)) for name in view.count_names}

    def scale_counts(self, view: View, scale: Mapping[str, float]) -> "DataFrame":
        """Scaled counts of a view."""
        names = ", ".join(f"{name} float" for name in view.count_names)
        shape = f"{view.entity} string, {names}, {schema.FEATURE_TIME} timestamp, {schema.KNOWN_TIME} timestamp"
        return self.session.table(view.name).mapInArrow(spark_mappers.scaler(view, scale), shape)

    def sequences(self) -> "DataFrame":
        """Rows of the user sequence view."""
        view = schema.VIEWS[schema.USER_SEQUENCE_VIEW]
        names = ", ".join(f"{feature.name} {_SPARK_TYPES[feature.kind]}" for feature in view.features)
        shape = f"{view.entity} string, {names}, {schema.FEATURE_TIME} timestamp, {schema.KNOWN_TIME} timestamp"
        return self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID]).mapInArrow(
            spark_mappers.sequence_rows(self.rules.feedback), shape
        )

    def filters(self) -> tuple[int, int]:
        """Write the user filter view; returns the number of its rows, and of users whose items were truncated."""
        view = schema.VIEWS[schema.USER_FILTER_VIEW]
        names = ", ".join(f"{feature.name} {_SPARK_TYPES[feature.kind]}" for feature in view.features)
        shape = f"{view.entity} string, {names}, {schema.FEATURE_TIME} timestamp, {schema.KNOWN_TIME} timestamp, {CUT} boolean"
        events = self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID, ITEM])
        rows = self.materialise(view.name, events.mapInArrow(spark_mappers.filter_rows(self.rules.feedback), shape))
        self.save(view.name, rows.drop(CUT))
        return rows.count(), rows.where(CUT).count()

    def signs(self) -> tuple[int, int, int]:
        """Number of positive events, refusals and neutral events that make an item seen."""
        counts = {int(sign): int(count) for sign, count in self.query(f"SELECT {SIGN}, count(*) FROM {FEEDBACK} GROUP BY {SIGN}").collect()}
        return counts.get(1, 0), counts.get(-1, 0), counts.get(0, 0)

    def interactions(self) -> "DataFrame":
        """Interactions of each user and what filters beside them, users in the order of their first positive event, others last."""
        shape = ", ".join(f"{name} {kind}" for name, kind in INTERACTION_COLUMNS.items())
        rows = self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID]).mapInArrow(
            spark_mappers.interaction_rows(self.rules.feedback), shape
        )
        return rows.orderBy(FIRST, NTH)

    def embeddings(self, view: str) -> "DataFrame":
        """Rows of an embedding view."""
        encoder = self.query(content.encoders(view)).first()
        chosen = None if encoder is None else (str(encoder[0]), str(encoder[1]))
        if not content.has_none(view, chosen):
            return self.query(content.provided_vectors_sql(view, chosen))
        shape = f"{schema.ITEM_ID} string, vector array<float>, updated_at timestamp, known timestamp"
        self.query(content.words()).mapInArrow(spark_mappers.embed_words, shape).createOrReplaceTempView(view)
        return self.query(content.hashed_vectors_sql(view))

    def save(self, name: str, rows: "DataFrame") -> None:
        """Write a feature table."""
        rows.write.parquet(str((self.folder / feature_set.DATA / f"{name}.parquet").absolute()))
        self.progress.advance()

    def materialise(self, name: str, rows: "DataFrame") -> "DataFrame":
        """Materialise rows as Parquet files beside the features, removed on publishing, and as a view of the name."""
        path = str((self.folder.parent / name).absolute())
        rows.write.parquet(path)
        read = self.session.read.parquet(path)
        read.createOrReplaceTempView(name)
        return read

    def view_of(self, name: str, rows: pa.Table) -> None:
        """Create a view of rows that the driver has, by a file beside the features, removed on publishing."""
        file = self.folder.parent / f"{name}.parquet"
        pq.write_table(rows, file)
        self.session.read.parquet(str(file.absolute())).createOrReplaceTempView(name)


def _save_interactions(spark: _Spark, tables: Tables, folder: Path, recipe: Recipe) -> tuple[TrainingCutoffs, FeedbackCounts]:
    """Write the interactions for training from files that Spark has sorted; returns the training cutoffs and counts of events."""
    parts, work = folder.parent / INTERACTIONS, folder.parent / "columns"
    spark.materialise(INTERACTIONS, spark.interactions())
    spark.progress.advance()
    work.mkdir()
    columns, items = InteractionColumns(work, spark.rules.feedback), tables.items()
    ids = items[schema.ITEM_ID].combine_chunks()
    for names, events in _whole_users(sorted(parts.glob("*.parquet")), ids, makes_seen_by_type(spark.rules.feedback)):
        columns.append(events, names)
    types = {str(event_type): int(count) for event_type, count in spark.query(types_query()).collect()}
    cutoffs = columns.save(build.catalogue(items), folder, recipe.data, lambda: types)
    columns.counts[:] = spark.signs()
    spark.progress.advance()
    return cutoffs, build.feedback_counts(columns, *spark.query(withdrawn_events_query()).collect()[0])


def _whole_users(files: Iterable[Path], items: Any, makes_seen: Any) -> Iterator[tuple[Any, UserEvents]]:
    """Blocks of users: their ids, and their events, in which users are numbered within the block and items as in the catalogue."""
    read = (batch for file in files for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS))
    for table in spark_mappers.whole_groups(read, FIRST):
        first = table[FIRST].to_numpy()
        starts = np.flatnonzero(np.diff(first, prepend=-1))
        rows = np.empty(len(table), dtype=event_partitions.row_dtype((schema.USER_ID, schema.ITEM_ID)))
        rows[USER] = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(starts, append=len(first)))
        rows[ITEM] = pc.index_in(table[schema.ITEM_ID].combine_chunks(), value_set=items).to_numpy()
        for name in ("time", "known", "type"):
            rows[name] = table[name].to_numpy()
        is_kept = table[IS_KEPT].to_numpy()
        events = UserEvents(kept=rows[is_kept], filters=rows[~is_kept], makes_seen=makes_seen, counts=(0, 0, 0))
        yield table[schema.USER_ID].combine_chunks().take(pa.array(starts)), events
