"""Tables of windowed counts, past DuckDB: counts of one range of entities after another in a file, then scaled rows as Arrow tables.

The scale is known once everything is counted, so counts wait in the file, each block in the narrowest unsigned integers that hold it,
or in 64 bits where hours lie before 1970.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.features.asof.history import STAMP
from lodestar.features.batch import event_partitions, windows
from lodestar.schema import View
from lodestar.schema.arrays import Float32, Floats, Integer
from lodestar.schema.time_units import HOUR_US

ROWS_AT_ONCE = 122_880  # of a table, and of a Parquet row group
ENTITY, HOUR = "entity", "hour"

Column = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class RawCounts:
    """A view's counts in `file`, at each hour at which one may change; `scale` is the maximum of each by name, at least 1."""

    view: View
    file: Path
    scale: Mapping[str, float]

    def blocks(self) -> Iterator[dict[str, Column]]:
        """At most ROWS_AT_ONCE rows at a time, sorted by entity and hour.

        Columns are ENTITY (the number in `event_partitions.ids`), HOUR (since 1970), and each count by its name.
        """
        names = (ENTITY, HOUR, *self.view.count_names)
        size = self.file.stat().st_size
        with self.file.open("rb") as content:
            while content.tell() < size:
                columns = [np.load(content, allow_pickle=False) for _ in names]
                for start in range(0, len(columns[0]), ROWS_AT_ONCE):
                    yield {name: values[start : start + ROWS_AT_ONCE] for name, values in zip(names, columns, strict=True)}


def count(database: Any, view: View, end_us: int, file: Path) -> RawCounts:
    """Count the events of each entity from the event partitions into a file; the scale is fitted on hours up to `end_us` (UTC µs)."""
    scale = dict.fromkeys(view.count_names, 1.0)
    with file.open("wb") as content:
        for events in event_partitions.chunks(database, view.entity):
            key = events[event_partitions.NUMBERS[view.entity]].astype(np.int64)
            ends, enters = windows.event_hours(events["time"], events["known"])
            for rows in windows.groups(key):
                keys, hours, counts = windows.windowed_counts(view.counts, key[rows], ends[rows], enters[rows], events["type"][rows])
                is_fitted = hours <= end_us // HOUR_US
                for name, values in zip(view.count_names, counts, strict=True):
                    scale[name] = max(scale[name], float(values[is_fitted].max(initial=1)))
                _append(content, (keys, hours, *counts))
    return RawCounts(view=view, file=file, scale=scale)


def _append(content: IO[bytes], columns: Sequence[Column]) -> None:
    for values in columns:
        is_signed = values.min(initial=0) < 0
        np.save(content, values.astype(np.int64 if is_signed else np.min_scalar_type(values.max(initial=0))))


def scaled_rows(counts: RawCounts, ids: Any, scale: Mapping[str, float]) -> Iterator[pa.Table]:
    """A view's rows with counts scaled to 0–1 as `windows.scaled` does; those of an entity are adjacent and sorted by time.

    `ids` has the entities' ids by number (Arrow). At most ROWS_AT_ONCE rows at a time.
    """
    shape = rows_schema(counts.view)
    for block in counts.blocks():
        hour_start = hour_starts(block[HOUR])
        scaled = [pa.array(scale_column(block[name], scale[name])) for name in counts.view.count_names]
        yield pa.table([ids.take(pa.array(block[ENTITY])), *scaled, hour_start, hour_start], schema=shape)


def hour_starts(hours: Integer[Column, " rows"]) -> pa.TimestampArray:
    """The time at which each hour since 1970 starts (Arrow, UTC µs)."""
    return pa.array(hours.astype(np.int64) * HOUR_US).cast(STAMP)


def rows_schema(view: View) -> pa.Schema:
    """Arrow schema of a view's rows: the entity's id, scaled counts (float32), and both times."""
    counts = dict.fromkeys(view.count_names, pa.float32())
    return pa.schema({view.entity: pa.string(), **counts, schema.FEATURE_TIME: STAMP, schema.KNOWN_TIME: STAMP})


def scale_column(counts: Integer[Column, " rows"], scale: float) -> Float32[Floats, " rows"]:
    """Scale one count feature as `windows.scaled` does, by the same arithmetic on each value instead of each row."""
    most = int(counts.max(initial=0))
    values, at = (np.arange(most + 1), counts) if most < len(counts) else np.unique(counts, return_inverse=True)
    return np.array([min(1.0, math.log(1 + n) / math.log(1 + scale)) for n in values.tolist()], dtype=np.float32)[at]
