"""A point-in-time training set through Feast's API: rows of 20 features, an hour late on average, and a tenth as many entity rows.

Our offline store beside Feast's DuckDB and file (dask) stores: the same call on the same Parquet file, in processes of their own that take
turns, from the call to the data frame; compared by the median of CPU time. A small join comes first, so that imports do not count.
The rows must be equal; the file store loses some, which is said.

    python benchmarks/training_set.py [--rows N] [--rows-per-user N ...] [--rounds N]

Published: --rows 1000000 --rows-per-user 100 33 10 --rounds 3. Feast's stores join all rows of a user before they choose.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has
import argparse
import gc
import json
import resource
import statistics
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring.requirements import require
from lodestar import schema

if TYPE_CHECKING:
    from feast import FeatureStore

NUM_ROWS, ROWS_PER_ASKED, NUM_FEATURES = 100_000, 10, 20
START_US, SPAN_US, LATE_S = 1_767_225_600_000_000, 60 * 24 * 3600 * 1_000_000, 3600.0
STAMP = pa.timestamp("us", tz="UTC")
NAMES = [f"f{place}" for place in range(NUM_FEATURES)]
STORES = {"ours": "feature_repo.stores.offline_store.AsOfOfflineStore", "duckdb": "duckdb", "file": "dask"}


def main() -> None:
    """Print CPU seconds and peak memory of each store for sparse and for dense histories; with arguments, be one of them."""
    if sys.argv[2:] and sys.argv[1] in STORES:
        print(json.dumps(one(sys.argv[1], Path(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=NUM_ROWS, help="rows of features (default: %(default)s)")
    parser.add_argument(
        "--rows-per-user", type=int, nargs="+", default=[33], metavar="N", help="one comparison each (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="of which the median counts (default: %(default)s)")
    options = parser.parse_args()
    require("feast", "dask")
    for rows_per_user in options.rows_per_user:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), options.rows, options.rows // rows_per_user)
            print(f"{options.rows:,} rows, {rows_per_user} a user")
            compare(Path(name), options.rounds)


def compare(folder: Path, rounds: int) -> None:
    """Run every store ROUNDS times on one folder, each in a process of its own, and print their comparison."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in STORES}
    for _ in range(rounds):
        for store in STORES:
            command = [sys.executable, __file__, store, str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs[store].append(json.loads(done.stdout.splitlines()[-1]))
    report(runs, {store: pd.read_parquet(folder / f"{store}.parquet") for store in STORES})


def write(folder: Path, num_rows: int, num_users: int) -> None:
    """The feature rows in any order, the asked-for rows, and a few of both to begin with."""
    rng, num_asked = np.random.default_rng(0), num_rows // ROWS_PER_ASKED
    happened = START_US + rng.integers(0, SPAN_US, num_rows)
    columns = {
        schema.USER_ID: pa.array(rng.integers(0, num_users, num_rows)).cast(pa.string()),
        **{name: rng.random(num_rows, dtype=np.float32) for name in NAMES},
        schema.FEATURE_TIME: pa.array(happened, STAMP),
        schema.KNOWN_TIME: pa.array(happened + (1e6 * rng.exponential(LATE_S, num_rows)).astype(np.int64), STAMP),
    }
    pq.write_table(pa.table(columns), folder / "history.parquet")
    pq.write_table(pa.table(columns).slice(0, 1000), folder / "few.parquet")
    asked = {
        "row": np.arange(num_asked),
        schema.USER_ID: pa.array(rng.integers(0, num_users, num_asked)).cast(pa.string()),
        schema.FEATURE_TIME: pa.array(START_US + rng.integers(0, SPAN_US, num_asked), STAMP),
        schema.LABEL: rng.integers(0, 2, num_asked),
    }
    pq.write_table(pa.table(asked), folder / "asked.parquet")


def one(name: str, folder: Path) -> dict[str, Any]:
    """What one store spends; its rows are left in the folder."""
    store = opened(name, folder)
    asked = pd.read_parquet(folder / "asked.parquet")
    joined(store, asked.head(100), "few")
    gc.collect()  # of what the imports left; else it falls into the measured part of some stores and not of others
    before = resource.getrusage(resource.RUSAGE_SELF)
    rows = joined(store, asked, "history")
    after = resource.getrusage(resource.RUSAGE_SELF)
    rows.to_parquet(folder / f"{name}.parquet")
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": spent_s, "peak_mib": after.ru_maxrss / 1024}


def opened(name: str, folder: Path) -> "FeatureStore":
    """A feature store with a view of each file."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float32

    registry, online = {"path": str(folder / f"{name}.db")}, {"type": "sqlite", "path": str(folder / f"{name}-online.db")}
    config = RepoConfig(project="bench", provider="local", registry=registry, offline_store={"type": STORES[name]}, online_store=online)
    store = FeatureStore(config=config)
    user = Entity(name=schema.ENTITIES[schema.USER_ID], join_keys=[schema.USER_ID], value_type=ValueType.STRING)
    fields = [Field(name=name, dtype=Float32) for name in NAMES]
    for file in ("few", "history"):
        path, known = str(folder / f"{file}.parquet"), schema.KNOWN_TIME
        source = FileSource(name=f"{file}_table", path=path, timestamp_field=schema.FEATURE_TIME, created_timestamp_column=known)
        store.apply([user, FeatureView(name=file, entities=[user], ttl=timedelta(0), schema=fields, source=source)])
    return store


def joined(store: "FeatureStore", asked: pd.DataFrame, view: str) -> pd.DataFrame:
    """Feast's point-in-time join of the entity rows with all features of a view, known by then."""
    features = [f"{view}:{name}" for name in NAMES]
    return store.get_historical_features(entity_df=asked, features=features, filter_by_created_timestamp=True).to_df()


def report(runs: dict[str, list[dict[str, Any]]], rows: dict[str, pd.DataFrame]) -> None:
    """Print the medians as ratios to ours; AssertionError if a row that a store gives differs from ours."""
    medians = {name: statistics.median(run["cpu_s"] for run in found) for name, found in runs.items()}
    ours = rows["ours"]
    num_asked = len(ours)
    assert ours["row"].tolist() == list(range(num_asked))
    for name, found in rows.items():
        answer = found.sort_values("row", ignore_index=True)
        kept = ours[ours["row"].isin(answer["row"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(answer[ours.columns], kept, check_dtype=False, check_exact=True)
        peak_mib = statistics.median(run["peak_mib"] for run in runs[name])
        lost = f"  {num_asked - len(answer):,} of {num_asked:,} rows lost" if len(answer) < num_asked else "  every row"
        print(f"  {name:7s} {medians[name]:6.2f} s CPU  {medians[name] / medians['ours']:5.1f} x ours  {peak_mib:6.0f} MiB{lost}")


if __name__ == "__main__":
    main()
