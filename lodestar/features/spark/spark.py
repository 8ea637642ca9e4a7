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
from lodestar.data.split.interactions import check_counts
from lodestar.data.split.splits import last_trained, training_end
from lodestar.data.tables.tables import Tables
from lodestar.errors import EnvironmentFault
from lodestar.features.batch import build, duckdb_views, event_partitions, feature_set, generation, labels, lineage, ratings_table
from lodestar.features.spark import spark_mappers
from lodestar.features.spark.spark_mappers import FILE_ROW_NUMBER, FIRST, NTH
from lodestar.features.text import content
from lodestar.io import storage
from lodestar.io.npz import AppendOnlyArray
from lodestar.progress import Progress
from lodestar.schema import View
from lodestar.schema.store_keys import RATINGS
from lodestar.schema.time_units import HOUR_US

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH_ROWS, INTERACTIONS, LOCAL_PARTITIONS = 100_000, "interactions", 16
# Spark's names of functions that sqlglot does not translate.
FUNCTIONS = {"EPOCH_US": "UNIX_MICROS", "MAKE_TIMESTAMPTZ": "TIMESTAMP_MICROS"}
_SPARK_TYPES = {"text": "string", "texts": "array<string>", "f4": "float", "f8": "double", "f4s": "array<float>"}


def build_features(root: Path, target: Path, recipe: Recipe, session: "SparkSession") -> None:
    """Publish the same folder of features as `build.build_features`, with a folder of Parquet files per view.

    Both paths must be on a volume that all workers share. DataError E203 where there are too few interactions, UsageError E301 as there.
    """
    storage.refuse_other_folder(target, feature_set.SEQUENCE_FILE)
    tables = Tables(root=root)
    with storage.publish_folder(target) as folder, Progress("build features on Spark", 5 + len(schema.VIEWS)) as progress:
        spark = _Spark(session, folder, progress)
        spark.view(tables)
        end_us = _save_interactions(spark, tables, folder, recipe)
        scale = {name: highest for view in schema.COUNT_VIEWS for name, highest in spark.count(view, end_us).items()}
        for view in schema.COUNT_VIEWS:
            spark.save(view.name, spark.scale_counts(view, scale))
        spark.save(schema.USER_SEQUENCE_VIEW, spark.sequences())
        for name in content.VIEWS:
            spark.save(name, spark.embeddings(name))
        for name, query in build.column_view_queries().items():
            spark.save(name, spark.query(query))
        has_impressions = spark.query("SELECT 1 FROM impressions LIMIT 1").count() > 0
        label_query = labels.LabelQuery(has_impressions=has_impressions, end_us=end_us, most_rows=recipe.data.training_rows)
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
        self.session, self.folder, self.progress = session, folder, progress
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
        self.query(duckdb_views.positive_events_sql()).createOrReplaceTempView(event_partitions.POSITIVE)
        texts = self.query(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
        keyed = texts.mapInArrow(spark_mappers.with_query_key, f"{schema.QUERY_TEXT} string, {schema.QUERY} string").where(
            f"{schema.QUERY} <> ''"
        )
        keyed.createOrReplaceTempView(duckdb_views.QUERY_KEYS)
        self.query(duckdb_views.search_events_sql()).createOrReplaceTempView(event_partitions.SEARCHES)

    def by_entity(self, entity: str, columns: Sequence[str]) -> "DataFrame":
        """Events of an entity's view of events, partitioned by entity, each in the order of the log."""
        events_view = next(name for name, entities in event_partitions.PARTITION_KEYS.items() if entity in entities)
        times = f"epoch_us({schema.EVENT_TIME}) AS time, epoch_us({schema.INGESTED_AT}) AS known"
        rows = self.query(f"SELECT {', '.join(columns)}, {times}, {schema.EVENT_TYPE}, {FILE_ROW_NUMBER} FROM {events_view}")
        return rows.repartition(entity).sortWithinPartitions(entity, FILE_ROW_NUMBER)

    def count(self, view: View, end_us: int) -> dict[str, float]:
        """Materialise the counts of a view beside the features; returns their scale, fitted on hours until `end_us` (UTC µs)."""
        names = ", ".join(f"{name} int" for name in view.count_names)
        rows = self.by_entity(view.entity, [view.entity]).mapInArrow(
            spark_mappers.counter(view), f"{view.entity} string, hour int, {names}"
        )
        counts = self.materialise(view.name, rows).where(f"cast(hour AS bigint) * {HOUR_US} <= {end_us}")
        (highest,) = counts.agg(dict.fromkeys(view.count_names, "max")).collect()
        return {name: max(1.0, float(highest[f"max({name})"] or 1)) for name in view.count_names}

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
        return self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID]).mapInArrow(spark_mappers.sequence_rows, shape)

    def interactions(self) -> "DataFrame":
        """The first event of each user on each item, users in the order they first appear."""
        shape = f"{schema.USER_ID} string, {schema.ITEM_ID} string, time bigint, {FIRST} bigint, {NTH} int"
        return (
            self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID])
            .mapInArrow(spark_mappers.first_interactions, shape)
            .orderBy(FIRST, NTH)
        )

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


def _save_interactions(spark: _Spark, tables: Tables, folder: Path, recipe: Recipe) -> int:
    """Write the interactions for training from files that Spark has sorted; returns the training cutoff (UTC µs)."""
    parts, work = folder.parent / INTERACTIONS, folder.parent / "columns"
    spark.materialise(INTERACTIONS, spark.interactions())
    spark.progress.advance()
    work.mkdir()
    items = tables.items()
    columns = {name: AppendOnlyArray(work / name, np.int64 if name == "time" else np.int32) for name in ("user", "item", "time")}
    users, end_us, has_events = list[str](), 0, np.zeros(len(items), dtype=np.bool_)
    for names, rows in _whole_users(sorted(parts.glob("*.parquet"))):
        user = rows[schema.USER_ID] + len(users)
        users += names
        found_at = pc.index_in(rows[schema.ITEM_ID], value_set=items[schema.ITEM_ID].combine_chunks()).to_numpy()
        for name, values in (("user", user), ("item", found_at), ("time", rows["time"])):
            columns[name].append(np.asarray(values))
        has_events[found_at] = True
        end_us = max(end_us, last_trained(user, rows["time"]))
    check_counts(len(users), int(has_events.sum()), len(columns["item"]), recipe.data)
    feature_set.save_columns(columns, pa.array(users, pa.string()), build.catalogue(items), folder)
    spark.progress.advance()
    return training_end(columns["time"].blocks, end_us, recipe.data)


def _whole_users(files: Iterable[Path]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Blocks of users: their ids, and for their rows the user's index within the block, the item id and the time."""
    read = (batch for file in files for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS))
    for rows in spark_mappers.whole_groups(read, FIRST):
        first = rows[FIRST].to_numpy()
        starts = np.flatnonzero(np.diff(first, prepend=-1))
        user = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(starts, append=len(first)))
        names = rows[schema.USER_ID].take(pa.array(starts)).to_pylist()
        yield names, {schema.USER_ID: user, schema.ITEM_ID: rows[schema.ITEM_ID].combine_chunks(), "time": rows["time"].to_numpy()}
