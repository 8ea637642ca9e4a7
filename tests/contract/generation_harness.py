"""Two days of a small shop, each with a bundle that was trained on it, and what is read of either in Redis."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import uvloop

from lodestar import schema
from lodestar.schema.store_keys import rows_key
from serving.features.feature_client import Counts, Histories, connect
from tests.contract.conftest import generation_of
from tests.factories import small_bundle
from tests.unit.test_features import built

USERS, ITEMS = ["u0", "u1", "u2"], [f"i{place}" for place in range(6)]


class Made(NamedTuple):
    """Features, and a bundle that was trained on them."""

    bundle: Path
    features: Path

    @property
    def generation(self) -> str:
        return generation_of(self.features)


def made(folder: Path, rows: list[tuple[str, str, int]], **how: Any) -> Made:
    features = built(folder, rows, **how)
    return Made(small_bundle(folder / "bundle", features=generation_of(features)), features)


EARLY = [("u0", "i1", 100), ("u0", "i2", 200), ("u0", "i1", 300), ("u0", "i3", 400), ("u1", "i1", 100)]
# What arrives a day later is older than what was known: of u0 an earlier visit to i3, by which the newest first visit becomes older.
LATE = [*EARLY, ("u0", "i3", 50), ("u1", "i4", 90), ("u2", "i5", 10)]


def asked(port: int, generation: str, read: Callable[[Any], Any]) -> Any:
    async def answer() -> Any:
        client = connect(f"redis://127.0.0.1:{port}", generation=generation)
        try:
            return await read(client)
        finally:
            await client.close()

    return uvloop.run(answer())


def histories(port: int, of: Made) -> list[tuple[str, ...]]:
    found: Histories = asked(port, of.generation, lambda client: client.histories(USERS))
    return [one.items for one in found]


def counts(port: int, of: Made) -> Any:
    found: Counts = asked(port, of.generation, lambda client: client.counts(USERS, ITEMS))
    return [np.nan_to_num(numbers.values) for numbers in found]


def expected(of: Made) -> list[tuple[str, ...]]:
    """What the tables say, whatever was online before."""
    rows = pd.read_parquet(of.features / "data" / f"{schema.USER_SEQUENCE_VIEW}.parquet").set_index(schema.USER_ID)[schema.RECENT_ITEMS]
    return [tuple(rows[user]) if user in rows else () for user in USERS]


def newest(of: Made, view: str, entity: str) -> dict[str, Any]:
    """A row as an independent reading of the table has it."""
    rows = pd.read_parquet(of.features / "data" / f"{view}.parquet")
    rows = rows[(rows[schema.VIEWS[view].entity] == entity) & (rows[schema.FEATURE_TIME] <= pd.Timestamp.now("UTC"))]
    return dict(rows.sort_values(schema.FEATURE_TIME).iloc[-1]) if len(rows) else {}


def times_left_s(redis: Any, of: Made) -> set[int]:
    return {redis.ttl(rows_key(schema.FEAST_PROJECT, of.generation, view)) for view in schema.VIEWS}
