"""A feature build beside DuckDB and polars used directly: sequences, eight windowed counts, and a point-in-time join of both views.

All three read the same Parquet files and write Parquet files with the same rows, take turns in processes of their own, and are compared by
the median of CPU time; so is the peak of memory. The floor is reading the log once: it is timed beside them, with pyarrow.
Ours also checks that items are in the catalogue, keeps what is positive and heeds when an event became known, as every build does.

    python benchmarks/feature_build.py 1000000 10000000     events, as published; without any, 100,000
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, os.path.dirname(sys.path[0]))

from benchmarks.measuring.requirements import require
from lodestar import schema
from lodestar.data.tables import tables
from lodestar.features.asof import asof
from lodestar.features.asof.history import FeatureSource
from lodestar.features.batch import build, count_tables, duckdb_views, event_partitions, sequences
from lodestar.schema.time_units import HOUR_US

SIZE, ROUNDS = 100_000, 3
EVENTS_PER_USER, EVENTS_PER_ITEM, DAYS, EVENTS_PER_ASKED = 50, 200, 60, 10
START_US = 1_767_225_600_000_000
STAMP = pa.timestamp("us", tz="UTC")
SPANS_H = (1, 24, 168, 720)
VIEWS = {schema.USER_ID: schema.USER_ACTIVITY_VIEW, schema.ITEM_ID: schema.ITEM_STATS_VIEW}
COUNTS = {entity: [f"{view}_{hours}h" for hours in SPANS_H] for entity, view in VIEWS.items()}
SHIFTS = sorted({1, *(hours + 1 for hours in SPANS_H)})
SEQUENCES, ASKED, JOINED = "sequences", "asked", "joined"


def main() -> None:
    """Print CPU seconds, µs per event and peak memory of the three ways for each log size; with arguments, be one of them."""
    match sys.argv[1:]:
        case [way, name] if way in WAYS:
            print(json.dumps(one(way, Path(name))))
            return
        case ["log", name, events]:
            log(int(events), Path(name))
            return
    require("polars")
    for size in [int(text) for text in sys.argv[1:]] or [SIZE]:
        with tempfile.TemporaryDirectory() as name:
            subprocess.run([sys.executable, __file__, "log", name, str(size)], check=True)  # its memory should be nobody's
            runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way in WAYS:
                    done = subprocess.run([sys.executable, __file__, way, name], capture_output=True, text=True, check=True)
                    runs[way].append(json.loads(done.stdout.splitlines()[-1]))
            compare(Path(name))
            report(size, runs)


def log(size: int, folder: Path) -> None:
    """The contract's tables; events are known when they happen, which is all that the peers' plain queries can take."""
    rng = np.random.default_rng(0)
    num_items, num_asked, kinds = size // EVENTS_PER_ITEM, size // EVENTS_PER_ASKED, pa.array(sorted(schema.POSITIVE)[:3])
    times = np.sort(START_US + rng.integers(0, DAYS * 24 * HOUR_US, size))
    names = pa.array(np.arange(num_items)).cast(pa.string())
    shape = tables.arrow_schema(schema.EVENTS)
    columns = {
        schema.EVENT_ID: pa.array(np.arange(size)).cast(pa.string()),
        schema.USER_ID: pa.array(rng.integers(0, size // EVENTS_PER_USER, size)).cast(pa.string()),
        schema.ITEM_ID: pa.array((num_items * rng.random(size) ** 2).astype(np.int64)).cast(pa.string()),
        schema.EVENT_TYPE: kinds.take(pa.array(rng.integers(0, len(kinds), size))),
        schema.EVENT_TIME: pa.array(times, STAMP),
        schema.INGESTED_AT: pa.array(times, STAMP),
    }
    events = pa.table({field.name: columns.get(field.name, pa.nulls(size, field.type)) for field in shape}, schema=shape)
    timestamps, shape = pa.array(np.full(num_items, START_US), STAMP), tables.arrow_schema(schema.ITEMS)
    about = {schema.ITEM_ID: names, schema.TITLE: names} | dict.fromkeys(("created_at", schema.UPDATED_AT, schema.INGESTED_AT), timestamps)
    items = pa.table({field.name: about.get(field.name, pa.nulls(num_items, field.type)) for field in shape}, schema=shape)
    tables.write({"events": events, "items": items}, folder)
    asked = {
        "row": np.arange(num_asked),
        schema.USER_ID: pa.array(rng.integers(0, size // EVENTS_PER_USER, num_asked)).cast(pa.string()),
        schema.ITEM_ID: pa.array(rng.integers(0, num_items, num_asked)).cast(pa.string()),
        "timestamp": pa.array(START_US + rng.integers(0, DAYS * 24 * HOUR_US, num_asked), STAMP),
    }
    pq.write_table(pa.table(asked), folder / f"{ASKED}.parquet")


def one(way: str, folder: Path) -> dict[str, Any]:
    """What one way spends on each part; its files are left in the folder."""
    (folder / way).mkdir(exist_ok=True)
    spent = {}
    for part, run in WAYS[way](folder):
        before = time.process_time()
        run()
        spent[part] = time.process_time() - before
    return {"cpu_s": spent, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def named(entity: str) -> list[tuple[str, int]]:
    """An entity's counts and the hours of their windows."""
    return list(zip(COUNTS[entity], SPANS_H, strict=True))


Part = tuple[str, Callable[[], object]]


def ours(folder: Path) -> Sequence[Part]:
    """The parts of the build by Lodestar's own steps, as functions to be timed one by one."""
    counts = {entity: tuple(schema.Count(name=name, window_h=hours) for name, hours in named(entity)) for entity in VIEWS}
    views = [schema.View(name=view, entity=entity, description="", features=counts[entity]) for entity, view in VIEWS.items()]
    out = folder / "ours"

    def history() -> None:
        with duckdb_views.connect(tables.Tables(root=folder), spill_near=out) as database:
            with build.view_writer(out / f"{SEQUENCES}.parquet", sequences.ROWS) as writer:
                for rows, _, _ in build.user_rows(database):
                    writer.write_table(rows)
            for view in views:
                columns = {view.entity: pa.string(), **dict.fromkeys(view.count_names, pa.int32()), schema.FEATURE_TIME: STAMP}
                ids = event_partitions.ids(database, view.entity)
                with build.view_writer(out / f"{view.name}.parquet", pa.schema(columns)) as writer:
                    for block in count_tables.count(database, view, 1 << 62, out / view.name).blocks():
                        counted = [pa.array(block[name].astype(np.int32)) for name in view.count_names]
                        ends = [ids.take(pa.array(block[count_tables.ENTITY])), count_tables.hour_starts(block[count_tables.HOUR])]
                        writer.write_table(pa.table([ends[0], *counted, ends[1]], names=list(columns)))

    def join() -> None:
        histories = [
            FeatureSource(
                files=[str(out / f"{view}.parquet")],
                filesystem=None,
                keys={entity: entity},
                features={name: name for name in COUNTS[entity]},
                time=schema.FEATURE_TIME,
                known="",
                ttl_us=0,
            )
            for entity, view in VIEWS.items()
        ]
        joined = asof.join(pq.read_table(folder / f"{ASKED}.parquet"), "timestamp", histories, only_known=False)
        pq.write_table(joined, out / f"{JOINED}.parquet", compression="zstd")

    return [("sequences and counts", history), ("join", join)]


def with_duckdb(folder: Path) -> Sequence[Part]:
    """The same parts in SQL that DuckDB runs."""
    out, database = folder / "duckdb", duckdb.connect()
    settings = f"TimeZone = 'UTC'; SET temp_directory = '{out}/spill'; SET preserve_insertion_order = false"
    database.execute(f"SET {settings}; SET enable_progress_bar = false")
    database.execute(f"CREATE VIEW events AS FROM read_parquet('{folder}/events.parquet')")
    database.execute(f"CREATE VIEW asked AS FROM read_parquet('{folder}/{ASKED}.parquet')")

    def save(query: str, name: str) -> None:
        database.execute(f"COPY ({query}) TO '{out}/{name}.parquet' (FORMAT parquet, COMPRESSION zstd)")

    def history() -> None:
        save(SEQUENCES_IN_SQL, SEQUENCES)
        for entity, view in VIEWS.items():
            save(counts_in_sql(entity), view)

    def join() -> None:
        joins, columns = "", "asked.*"
        for entity, view in VIEWS.items():
            joins += f"""
                ASOF LEFT JOIN read_parquet('{out}/{view}.parquet') AS {view}
                ON asked.{entity} = {view}.{entity} AND asked.timestamp >= {view}.{schema.FEATURE_TIME}"""
            columns += "".join(f", {view}.{name}" for name in COUNTS[entity])
        save(f"SELECT {columns} FROM asked {joins}", JOINED)

    return [("sequences and counts", history), ("join", join)]


# One list of structs: three lists, each in order, take more than 18 GiB at ten million events.
SEQUENCES_IN_SQL = f"""
    WITH firsts AS (
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, arg_min({schema.EVENT_TYPE}, {schema.EVENT_TIME}) AS kind,
            epoch_us(min({schema.EVENT_TIME})) AS time FROM events GROUP BY ALL),
    ranked AS (
        SELECT *, coalesce(time - lag(time) OVER own, 0) / 1e6 AS gap,
            row_number() OVER (PARTITION BY {schema.USER_ID} ORDER BY time DESC) AS place
        FROM firsts WINDOW own AS (PARTITION BY {schema.USER_ID} ORDER BY time)),
    listed AS (
        SELECT {schema.USER_ID}, list({{'item': {schema.ITEM_ID}, 'kind': kind, 'gap': gap::FLOAT}} ORDER BY time) AS own
        FROM ranked WHERE place <= {schema.MAX_HISTORY} GROUP BY {schema.USER_ID})
    SELECT {schema.USER_ID}, list_transform(own, one -> one.item) AS {schema.RECENT_ITEMS},
        list_transform(own, one -> one.kind) AS {schema.RECENT_TYPES}, list_transform(own, one -> one.gap) AS {schema.RECENT_GAPS_S}
    FROM listed"""


def counts_in_sql(entity: str) -> str:
    """RANGE windows over the hours that have events, at the hours that change a count."""
    over = "OVER (PARTITION BY entity ORDER BY hour RANGE BETWEEN {hours} PRECEDING AND 1 PRECEDING)"
    counts = ", ".join(f"coalesce(sum(n) {over.format(hours=hours)}, 0)::INTEGER AS {name}" for name, hours in named(entity))
    shifts = ", ".join(f"({shift})" for shift in SHIFTS)
    return f"""
        WITH counted AS (
            SELECT {entity} AS entity, epoch_us({schema.EVENT_TIME}) // {HOUR_US} AS hour, count(*) AS n FROM events GROUP BY ALL),
        times AS (SELECT DISTINCT entity, hour + shift AS hour FROM counted, (VALUES {shifts}) AS shifts(shift)),
        timeline AS (
            SELECT coalesce(counted.entity, times.entity) AS entity, coalesce(counted.hour, times.hour) AS hour,
                coalesce(n, 0) AS n, times.hour IS NOT NULL AS is_row
            FROM counted FULL JOIN times ON counted.entity = times.entity AND counted.hour = times.hour)
        SELECT entity AS {entity}, {", ".join(COUNTS[entity])}, make_timestamptz(hour * {HOUR_US}) AS {schema.FEATURE_TIME}
        FROM (SELECT entity, hour, is_row, {counts} FROM timeline) WHERE is_row"""


def with_polars(folder: Path) -> Sequence[Part]:
    """The same parts as lazy polars frames."""
    import polars as pl

    out = folder / "polars"
    user, item, kind, time = schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME

    def history() -> None:
        events = pl.scan_parquet(folder / "events.parquet").select(user, item, kind, pl.col(time).cast(pl.Int64))
        firsts = events.sort(time).group_by(user, item).agg(pl.col(kind).first(), pl.col(time).first()).sort(user, time)
        gap = (pl.col(time).diff().over(user).fill_null(0) / 1e6).cast(pl.Float32)
        last = [pl.col(name).tail(schema.MAX_HISTORY).alias(ours) for name, ours in RENAMED.items()]
        lists = firsts.with_columns(gap=gap).group_by(user, maintain_order=True).agg(last)
        lists.collect().write_parquet(out / f"{SEQUENCES}.parquet", compression="zstd")
        for entity, view in VIEWS.items():
            hour = (pl.col(time) // HOUR_US).alias("hour")
            counted = events.group_by(pl.col(entity), hour).agg(pl.len().cast(pl.Int64).alias("n")).collect()
            grid = pl.concat([counted.select(entity, pl.col("hour") + shift) for shift in SHIFTS]).unique()
            timeline = counted.join(grid.with_columns(is_row=True), on=[entity, "hour"], how="full", coalesce=True).sort(entity, "hour")
            rolled = [
                pl.col("n").rolling_sum_by("hour", f"{hours}i", closed="left").over(entity).fill_null(0).cast(pl.Int32).alias(name)
                for name, hours in named(entity)
            ]
            rows = timeline.with_columns(pl.col("n").fill_null(0)).with_columns(rolled).filter(pl.col("is_row"))
            timestamp = (pl.col("hour") * HOUR_US).cast(pl.Datetime("us", "UTC")).alias(schema.FEATURE_TIME)
            rows.select(entity, *COUNTS[entity], timestamp).write_parquet(out / f"{view}.parquet", compression="zstd")

    def join() -> None:
        joined = pl.read_parquet(folder / f"{ASKED}.parquet").sort("timestamp")
        for entity, view in VIEWS.items():
            rows = pl.read_parquet(out / f"{view}.parquet").sort(schema.FEATURE_TIME)
            joined = joined.join_asof(rows, left_on="timestamp", right_on=schema.FEATURE_TIME, by=entity, check_sortedness=False)
            joined = joined.drop(schema.FEATURE_TIME, strict=False)
        joined.write_parquet(out / f"{JOINED}.parquet", compression="zstd")

    return [("sequences and counts", history), ("join", join)]


RENAMED = {schema.ITEM_ID: schema.RECENT_ITEMS, schema.EVENT_TYPE: schema.RECENT_TYPES, "gap": schema.RECENT_GAPS_S}


def reading(folder: Path) -> Sequence[Part]:
    """The floor: the columns that a build needs, once."""
    columns = [schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME, schema.INGESTED_AT]

    def read() -> None:
        for _ in pq.ParquetFile(folder / "events.parquet").iter_batches(columns=columns):
            pass

    return [("sequences and counts", read), ("join", lambda: pq.read_table(folder / f"{ASKED}.parquet"))]


def compare(folder: Path) -> None:
    """AssertionError where the ways do not give the same rows, in whatever order."""
    with duckdb.connect() as database:
        for output in (SEQUENCES, *VIEWS.values(), JOINED):
            names = {
                SEQUENCES: [schema.USER_ID, *RENAMED.values()],
                JOINED: ["row", *(name for counts in COUNTS.values() for name in counts)],
            } | {view: [entity, *COUNTS[entity], schema.FEATURE_TIME] for entity, view in VIEWS.items()}
            columns = ", ".join(names[output])
            for peer in ("duckdb", "polars"):
                query = f"SELECT count(*), sum(hash({columns})::HUGEINT) FROM read_parquet('{folder}/%s/{output}.parquet')"
                found = [database.execute(query % way).fetchone() for way in ("ours", peer)]
                assert found[0] == found[1], (output, peer, found)


def report(size: int, runs: dict[str, list[dict[str, Any]]]) -> None:
    """Print the median CPU seconds of every part and of the whole, and the whole as a ratio to ours."""
    totals = {way: statistics.median(sum(run["cpu_s"].values()) for run in found) for way, found in runs.items()}
    for way, found in runs.items():
        parts = "  ".join(f"{part} {statistics.median(run['cpu_s'][part] for run in found):6.2f}" for part in found[0]["cpu_s"])
        peak_mib = statistics.median(run["peak_mib"] for run in found)
        spent = f"{totals[way]:7.2f} s CPU ({parts})  {1e6 * totals[way] / size:6.2f} µs an event  {peak_mib:6.0f} MiB"
        print(f"{size:>10,} events  {way:7s} {spent}  {totals[way] / totals['ours']:5.2f} x ours", flush=True)


WAYS: dict[str, Callable[[Path], Sequence[Part]]] = {"ours": ours, "duckdb": with_duckdb, "polars": with_polars, "reading": reading}

if __name__ == "__main__":
    main()
