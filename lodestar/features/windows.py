"""Windowed counts in three forms from one declaration: over history, over a stream, and as the number that a model is given.

An event counts in a window of w hours from the end of its hour, or from the hour after it became known if that is later, until w hours
after its hour has ended. A count therefore changes at whole hours only, holds what was known then and nothing else, and is found again
exactly from the log: a late event changes no row of the past.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lodestar import schema
from lodestar.schema import Windowed

HOUR_US = 3_600_000_000


def count(database: Any, features: Sequence[Windowed]) -> str:
    """Create the table of a view's raw counts from `positive` and give its name; rows are (entity, hour, counts), hours since 1970.

    Each event is a step up at the hour when it enters and a step down for each window at the hour when it leaves; counts are running sums.
    """
    (view,), (entity,) = {feature.view for feature in features}, {feature.entity for feature in features}
    own_hour = f"epoch_us({schema.EVENT_TIME}) // {HOUR_US} + 1"
    known_hour = f"(epoch_us({schema.INGESTED_AT}) + {HOUR_US - 1}) // {HOUR_US}"
    ups = ", ".join(f"CASE WHEN enters < ends + {feature.window_h} THEN n ELSE 0 END AS {feature.name}" for feature in features)
    downs = [_step_down(features, leaving) for leaving in features]
    sums = ", ".join(f"sum({feature.name}) AS {feature.name}" for feature in features)
    running = ", ".join(f"sum({feature.name}) OVER (PARTITION BY entity ORDER BY hour)::BIGINT AS {feature.name}" for feature in features)
    database.execute(f"""
        CREATE TABLE {view} AS
        WITH taken AS (
            SELECT {entity} AS entity, {own_hour} AS ends, greatest({own_hour}, {known_hour}) AS enters, count(*) AS n
            FROM positive GROUP BY ALL),
        steps AS (SELECT entity, enters AS hour, {ups} FROM taken UNION ALL {" UNION ALL ".join(downs)}),
        changes AS (SELECT entity, hour, {sums} FROM steps GROUP BY entity, hour)
        SELECT entity, hour, {running} FROM changes""")
    return view


def _step_down(features: Sequence[Windowed], leaving: Windowed) -> str:
    values = ", ".join("-n" if feature is leaving else "0" for feature in features)
    return f"SELECT entity, ends + {leaving.window_h}, {values} FROM taken WHERE enters < ends + {leaving.window_h}"


def largest(database: Any, features: Sequence[Windowed], end_us: int) -> dict[str, float]:
    """The fitted state: of each feature the highest count until `end_us`, at least 1."""
    most = ", ".join(f"coalesce(max({feature.name}), 1)" for feature in features)
    row = database.execute(f"SELECT {most} FROM {features[0].view} WHERE hour * {HOUR_US} <= {end_us}").fetchone()
    return {feature.name: max(1.0, float(value)) for feature, value in zip(features, row, strict=True)}


def scaled_rows(features: Sequence[Windowed], most: Mapping[str, float]) -> str:
    """SQL of the view's rows as a model is given them: what `scaled` makes of the counts, in order of time."""
    entity = features[0].entity
    columns = ", ".join(f"least(1, ln(1 + {one.name}) / ln(1 + {most[one.name]}))::FLOAT AS {one.name}" for one in features)
    moment = f"make_timestamptz(hour * {HOUR_US})"
    return f"""
        SELECT entity AS {entity}, {columns}, {moment} AS {schema.FEATURE_TIME}, {moment} AS {schema.KNOWN_TIME}
        FROM {features[0].view} ORDER BY {schema.FEATURE_TIME}, {entity}"""


def scaled(counts: Mapping[str, int], most: Mapping[str, float]) -> dict[str, np.float32]:
    """log(1 + n) / log(1 + the highest n of the training window), at most 1."""
    return {name: np.float32(min(1.0, math.log(1 + n) / math.log(1 + most[name]))) for name, n in counts.items()}


class Stream:
    """The counts of all keys of an entity, event after event in the order in which they become known.

    `count` may be asked for the present only: what has left every window is forgotten, so the state of a key is as long as its hours.
    """

    def __init__(self, features: Sequence[Windowed]) -> None:
        self._features = tuple(features)
        self._longest_h = max(feature.window_h for feature in features)
        self._taken: dict[str, dict[tuple[int, int], int]] = defaultdict(lambda: defaultdict(int))

    def add(self, key: str, time_us: int, known_us: int) -> None:
        """One positive event."""
        ends = time_us // HOUR_US + 1
        self._taken[key][ends, max(ends, -(-known_us // HOUR_US))] += 1

    def count(self, key: str, now_us: int) -> dict[str, int]:
        """The counts of a key now."""
        hour = now_us // HOUR_US
        taken = self._taken.get(key, {})
        for ends, enters in [pair for pair in taken if pair[0] + self._longest_h <= hour]:
            del taken[ends, enters]
        return {
            feature.name: sum(n for (ends, enters), n in taken.items() if enters <= hour < ends + feature.window_h)
            for feature in self._features
        }
