"""The same build on Spark, for logs that one machine should not take: the same tables, row for row.

What is one relational expression is translated from DuckDB's dialect; what is made entity by entity runs as the same code on Arrow
batches, each of which holds all events of its entities. Only the interactions that training reads are put into one file, by the driver.
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

from lodestar import schema, storage
from lodestar.arrays import Growing
from lodestar.config import Recipe
from lodestar.data.interactions import check_counts
from lodestar.data.splits import last_trained, training_end
from lodestar.data.tables import Tables
from lodestar.features import batches, build, content, generation, labels, origin, rated, relations, store, taken, windows
from lodestar.features.batches import FIRST, NTH, PLACE
from lodestar.progress import Progress
from lodestar.schema import View
from lodestar.schema.places import RATINGS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BATCH_ROWS, INTERACTIONS, LOCAL_PARTITIONS = 100_000, "interactions", 16
# What Spark calls functions that sqlglot passes on as they are.
FUNCTIONS = {"EPOCH_US": "UNIX_MICROS", "MAKE_TIMESTAMPTZ": "TIMESTAMP_MICROS"}
_KNOWN = {"text": "string", "texts": "array<string>", "f4": "float", "f8": "double", "f4s": "array<float>"}


def build_features(tables: Path, target: Path, recipe: Recipe, session: "SparkSession") -> None:
    """What `build.build_features` publishes; a view is a folder of Parquet files. Paths lie on a volume that all workers see."""
    found = Tables(root=tables)
    with storage.publish_folder(target) as folder, Progress("build features on Spark", 5 + len(schema.VIEWS)) as progress:
        spark = _Spark(session, folder, progress)
        spark.view(found)
        end_us = _save_interactions(spark, found, folder, recipe)
        scale = {name: most for view in schema.COUNTED for name, most in spark.count(view, end_us).items()}
        for view in schema.COUNTED:
            spark.save(view.name, spark.scaled(view, scale))
        spark.save(schema.USER_SEQUENCE_VIEW, spark.sequences())
        for name in content.VIEWS:
            spark.save(name, spark.embedded(name))
        for name, query in build.recorded().items():
            spark.save(name, spark.query(query))
        has_impressions = spark.query("SELECT 1 FROM impressions LIMIT 1").count() > 0
        wanted = labels.Labels(has_impressions=has_impressions, end_us=end_us, most_rows=recipe.data.training_rows)
        # Kept as files: Spark would take any rows for the latest where the limit stands in a query that joins them.
        spark.kept(labels.LATEST, spark.query(labels.latest(wanted)))
        spark.save(labels.TABLE, spark.query(labels.query(wanted)))
        spark.save(RATINGS, spark.query(rated.query()))
        (folder / store.SCALERS).write_text(json.dumps(scale, indent=2, sort_keys=True) + "\n")
        origin.write(folder, found)
        generation.write(folder)


@contextmanager
def session(master: str) -> Iterator["SparkSession"]:
    """Spark as the build needs it; `master` is like `local[2]`, and empty where spark-submit says it."""
    from pyspark.sql import SparkSession

    asked = SparkSession.builder.appName("lodestar-features")
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
        asked = asked.config(name, value)
    made = asked.getOrCreate()
    try:
        yield made
    finally:
        made.stop()


def translated(query: str) -> str:
    """A query of ours in Spark's dialect."""
    (written,) = sqlglot.transpile(re.sub(r"\bAS MATERIALIZED\b", "AS", query), read="duckdb", write="spark")
    return re.sub(r"\b(" + "|".join(FUNCTIONS) + r")\b", lambda name: FUNCTIONS[name[0]], written)


class _Spark:
    """A session with the tables as views, and the folder that the features go to."""

    def __init__(self, session: "SparkSession", folder: Path, progress: Progress) -> None:
        self.session, self.folder, self.progress = session, folder, progress
        (folder / store.DATA).mkdir()

    def query(self, query: str) -> "DataFrame":
        return self.session.sql(translated(query))

    def view(self, found: Tables) -> None:
        """The tables, with the place of each row in the order of the log, and the relations that features are made of."""
        from pyspark.sql import functions as sql

        named = sql.concat_ws("/", sql.slice(sql.split(sql.col("_metadata.file_path"), "/"), -2, 2))  # month and part
        for table in schema.TABLES.values():
            paths = [(found.root / name).absolute() for name in found.names(table)]  # other machines read them
            parts = [quote(f"{path.parent.name}/{path.name}") for path in paths]
            numbers = sql.create_map(*(sql.lit(entry) for place, part in enumerate(parts) for entry in (part, place)))
            rows = self.session.read.parquet(*map(str, paths))
            place = sql.shiftleft(numbers[named].cast("long"), 40) + sql.col("_metadata.row_index")
            rows.withColumn(PLACE, place).createOrReplaceTempView(table.name)
        self.query(relations.positive()).createOrReplaceTempView(taken.POSITIVE)
        texts = self.query(f"SELECT DISTINCT {schema.QUERY_TEXT} FROM events WHERE {schema.QUERY_TEXT} IS NOT NULL")
        keyed = texts.mapInArrow(batches.keyed, f"{schema.QUERY_TEXT} string, {schema.QUERY} string").where(f"{schema.QUERY} <> ''")
        keyed.createOrReplaceTempView(relations.QUERY_KEYS)
        self.query(relations.asked()).createOrReplaceTempView(taken.ASKED)

    def by_entity(self, entity: str, columns: Sequence[str]) -> "DataFrame":
        """The events that count for an entity, all of one in one partition and in the order of the log."""
        relation = next(name for name, entities in taken.DEALT.items() if entity in entities)
        times = f"epoch_us({schema.EVENT_TIME}) AS time, epoch_us({schema.INGESTED_AT}) AS known"
        rows = self.query(f"SELECT {', '.join(columns)}, {times}, {schema.EVENT_TYPE}, {PLACE} FROM {relation}")
        return rows.repartition(entity).sortWithinPartitions(entity, PLACE)

    def count(self, view: View, end_us: int) -> dict[str, float]:
        """Write the counts of a view beside the features; their scale."""
        names = ", ".join(f"{one.name} int" for one in view.counts)
        rows = self.by_entity(view.entity, [view.entity]).mapInArrow(batches.counter(view), f"{view.entity} string, hour int, {names}")
        counts = self.kept(view.name, rows).where(f"cast(hour AS bigint) * {windows.HOUR_US} <= {end_us}")
        (most,) = counts.agg({one.name: "max" for one in view.counts}).collect()
        return {one.name: max(1.0, float(most[f"max({one.name})"] or 1)) for one in view.counts}

    def scaled(self, view: View, scale: Mapping[str, float]) -> "DataFrame":
        names = ", ".join(f"{one.name} float" for one in view.counts)
        shape = f"{view.entity} string, {names}, {schema.FEATURE_TIME} timestamp, {schema.KNOWN_TIME} timestamp"
        return self.session.table(view.name).mapInArrow(batches.scaler(view, scale), shape)

    def sequences(self) -> "DataFrame":
        view = schema.VIEWS[schema.USER_SEQUENCE_VIEW]
        names = ", ".join(f"{one.name} {_KNOWN[one.kind]}" for one in view.features)
        shape = f"{view.entity} string, {names}, {schema.FEATURE_TIME} timestamp, {schema.KNOWN_TIME} timestamp"
        return self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID]).mapInArrow(batches.recent, shape)

    def interactions(self) -> "DataFrame":
        """Of each user the first event on each item, in the order in which users appear."""
        shape = f"{schema.USER_ID} string, {schema.ITEM_ID} string, time bigint, {FIRST} bigint, {NTH} int"
        return self.by_entity(schema.USER_ID, [schema.USER_ID, schema.ITEM_ID]).mapInArrow(batches.firsts, shape).orderBy(FIRST, NTH)

    def embedded(self, view: str) -> "DataFrame":
        encoder = self.query(content.encoders(view)).first()
        chosen = None if encoder is None else (str(encoder[0]), str(encoder[1]))
        if not content.has_none(view, chosen):
            return self.query(content.brought(view, chosen))
        shape = f"{schema.ITEM_ID} string, vector array<float>, moment timestamp, known timestamp"
        self.query(content.words()).mapInArrow(batches.embedded, shape).createOrReplaceTempView(view)
        return self.query(content.ours(view))

    def save(self, name: str, rows: "DataFrame") -> None:
        rows.write.parquet(str((self.folder / store.DATA / f"{name}.parquet").absolute()))
        self.progress.advance()

    def kept(self, name: str, rows: "DataFrame") -> "DataFrame":
        """The same rows from files beside the features, which go when these are published, and as a view of the name."""
        path = str((self.folder.parent / name).absolute())
        rows.write.parquet(path)
        read = self.session.read.parquet(path)
        read.createOrReplaceTempView(name)
        return read


def _save_interactions(spark: _Spark, found: Tables, folder: Path, recipe: Recipe) -> int:
    """What `build` writes for training, from files that Spark has put in order; the moment after which nothing may be learnt."""
    parts, work = folder.parent / INTERACTIONS, folder.parent / "columns"
    spark.kept(INTERACTIONS, spark.interactions())
    spark.progress.advance()
    work.mkdir()
    items = found.items()
    columns = {name: Growing(work / name, np.int64 if name == "time" else np.int32) for name in ("user", "item", "time")}
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
    store.save_columns(columns, pa.array(users, pa.string()), build.catalogue(items), folder)
    spark.progress.advance()
    return training_end(columns["time"].blocks, end_us, recipe.data)


def _whole_users(files: Iterable[Path]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Some users at a time: their names, and of their rows the user's place among these, the item and the time."""
    read = (batch for file in files for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS))
    for rows in batches.whole(read, FIRST):
        first = rows[FIRST].to_numpy()
        starts = np.flatnonzero(np.diff(first, prepend=-1))
        user = np.repeat(np.arange(len(starts), dtype=np.int32), np.diff(starts, append=len(first)))
        names = rows[schema.USER_ID].take(pa.array(starts)).to_pylist()
        yield names, {schema.USER_ID: user, schema.ITEM_ID: rows[schema.ITEM_ID].combine_chunks(), "time": rows["time"].to_numpy()}
