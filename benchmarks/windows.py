"""Four windowed counts of every user at every hour that changes one: CPU time beside DuckDB and polars used directly.

All three start from the same Arrow table of events, give the same rows, take turns in processes of their own, and are judged by the
median; so is the peak of memory. The floor is one pass over 24 bytes an event, some 3 ns.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa

from lodestar import schema
from lodestar.features import taken, windows
from lodestar.features.windows import HOUR_US

SIZES = (300_000, 3_000_000)
EVENTS_PER_USER, DAYS = 50, 60
ROUNDS = 3
FEATURES = [feature for feature in schema.WINDOWED if feature.view == schema.USER_ACTIVITY_VIEW]
STAMP = pa.timestamp("us", tz="UTC")
SHIFTS = sorted({1, *(feature.window_h + 1 for feature in FEATURES)})


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1], int(sys.argv[2]))))
        return
    for size in SIZES:
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            for name in WAYS:
                done = subprocess.run([sys.executable, __file__, name, str(size)], capture_output=True, text=True, check=True)
                runs[name].append(json.loads(done.stdout))
        report(size, runs)


def one(name: str, size: int) -> dict[str, Any]:
    """What one way spends on a log of that size, and a digest of its rows."""
    events = log(size)
    before = resource.getrusage(resource.RUSAGE_SELF)
    rows = WAYS[name](events)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": spent_s, "peak_mib": after.ru_maxrss / 1024, "rows": len(rows), "digest": digest(rows)}


def log(size: int) -> pa.Table:
    """Events known when they happened, since that is all that the peers' plain SQL can take."""
    chance = np.random.default_rng(0)
    users = pa.array(chance.integers(0, size // EVENTS_PER_USER, size)).cast(pa.string())
    times = pa.array(1_767_225_600_000_000 + chance.integers(0, DAYS * 24 * HOUR_US, size), STAMP)
    item, kind = (pa.repeat(pa.scalar(text), size) for text in ("i", "view"))
    columns = {schema.USER_ID: users, schema.EVENT_TIME: times, schema.INGESTED_AT: times, schema.ITEM_ID: item, schema.EVENT_TYPE: kind}
    return pa.table({**columns, "file_row_number": pa.array(np.arange(size))})


def ours(events: pa.Table) -> pa.Table:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        database.register("positive", events)
        database.execute("CREATE TABLE items AS SELECT 'i' AS item_id, 0 AS file_row_number")
        taken.encode(database, Path(folder))
        view = windows.count(database, FEATURES)
        names = f"JOIN {taken.NAMES[schema.USER_ID]} ON entity = {taken.NUMBERS[schema.USER_ID]}"
        columns = ", ".join(f"{one.name}::BIGINT AS {one.name}" for one in FEATURES)
        query = f"SELECT {schema.USER_ID} AS entity, hour::BIGINT AS hour, {columns} FROM {view} {names}"
        return database.execute(query).to_arrow_table()


def with_duckdb(events: pa.Table) -> pa.Table:
    """RANGE windows over the hours that have events, at the hours that change a count."""
    over = "OVER (PARTITION BY entity ORDER BY hour RANGE BETWEEN {hours} PRECEDING AND 1 PRECEDING)"
    counts = ", ".join(f"coalesce(sum(n) {over.format(hours=one.window_h)}, 0)::BIGINT AS {one.name}" for one in FEATURES)
    shifts = ", ".join(f"({shift})" for shift in SHIFTS)
    with duckdb.connect() as database:
        database.register("events", events)
        return database.execute(f"""
            WITH taken AS (
                SELECT {schema.USER_ID} AS entity, epoch_us({schema.EVENT_TIME}) // {HOUR_US} AS hour, count(*) AS n
                FROM events GROUP BY ALL),
            moments AS (SELECT DISTINCT entity, hour + shift AS hour FROM taken, (VALUES {shifts}) AS shifts(shift)),
            timeline AS (
                SELECT coalesce(taken.entity, moments.entity) AS entity, coalesce(taken.hour, moments.hour) AS hour,
                    coalesce(n, 0) AS n, moments.hour IS NOT NULL AS is_moment
                FROM taken FULL JOIN moments ON taken.entity = moments.entity AND taken.hour = moments.hour)
            SELECT entity, hour, {", ".join(one.name for one in FEATURES)} FROM (
                SELECT entity, hour, is_moment, {counts} FROM timeline) WHERE is_moment""").to_arrow_table()


def with_polars(events: pa.Table) -> pa.Table:
    """`rolling_sum_by` per window over the same timeline."""
    frame = pl.DataFrame(pl.from_arrow(events.select([schema.USER_ID, schema.EVENT_TIME])))
    hour = pl.col(schema.EVENT_TIME).cast(pl.Int64) // HOUR_US
    taken = frame.group_by(pl.col(schema.USER_ID).alias("entity"), hour.alias("hour")).agg(pl.len().cast(pl.Int64).alias("n"))
    moments = pl.concat([taken.select("entity", pl.col("hour") + shift) for shift in SHIFTS]).unique()
    timeline = taken.join(moments.with_columns(is_moment=True), on=["entity", "hour"], how="full", coalesce=True).sort("entity", "hour")
    timeline = timeline.with_columns(pl.col("n").fill_null(0))
    rolled = [
        pl.col("n").rolling_sum_by("hour", window_size=f"{one.window_h}i", closed="left").over("entity").fill_null(0).alias(one.name)
        for one in FEATURES
    ]
    timeline = timeline.with_columns(rolled)
    return timeline.filter(pl.col("is_moment")).select("entity", "hour", *(one.name for one in FEATURES)).to_arrow()


def digest(rows: pa.Table) -> int:
    """The same for the same rows in any order."""
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for name in rows.column_names:
        mixed = mixed * np.uint64(1_000_003) + rows[name].cast(pa.int64()).to_numpy().astype(np.uint64)
    return int(np.bitwise_xor.reduce(mixed * np.uint64(0x9E3779B97F4A7C15)))


def report(size: int, runs: dict[str, list[dict[str, Any]]]) -> None:
    answers = {(run["rows"], run["digest"]) for found in runs.values() for run in found}
    assert len(answers) == 1, answers
    medians = {name: statistics.median(run["cpu_s"] for run in found) for name, found in runs.items()}
    for name, found in runs.items():
        spent_s, peak_mib = medians[name], statistics.median(run["peak_mib"] for run in found)
        spent = f"{spent_s:7.2f} s CPU  {1e6 * spent_s / size:6.2f} µs an event"
        print(f"{size:>10,} events  {name:7s} {spent}  {peak_mib:6.0f} MiB  {spent_s / medians['ours']:5.2f} x ours")


WAYS: dict[str, Callable[[pa.Table], pa.Table]] = {"ours": ours, "duckdb": with_duckdb, "polars": with_polars}

if __name__ == "__main__":
    main()
