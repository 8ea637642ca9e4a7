"""Feature source of the as-of join: a view's rows in Parquet files, read by row group and column."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lodestar.errors import DataError
from lodestar.schema.arrays import Int, Int64, Integers
from lodestar.schema.time_units import NEVER

STAMP = pa.timestamp("us", tz="UTC")  # type of the time columns of features
NONE = -1  # position of a row that does not exist


@dataclass(frozen=True, kw_only=True)
class FeatureSource:
    """Parquet files read as one table, and its columns: entity keys, features, event time and known (created) time.

    `keys` and `features` map each name outside to a column of the files. `known` may be empty: then a row is known at its event time.
    A row is valid until its event time plus `ttl_us`, that microsecond included; 0: no TTL. Files are local if there is no `filesystem`.
    """

    files: Sequence[str]
    filesystem: Any
    keys: Mapping[str, str]
    features: Mapping[str, str]
    time: str
    known: str
    ttl_us: int

    @cached_property
    def metadata(self) -> list[Any]:
        """Parquet metadata of each file, read once."""
        return [self._open(file).metadata for file in self.files]

    def schema(self) -> Any:
        """Arrow schema of the first file, which all files share."""
        return self.metadata[0].schema.to_arrow_schema()

    @property
    def columns(self) -> list[str]:
        """Names of the key, feature and time columns in the files."""
        times = [self.time, self.known] if self.known else [self.time]
        return list(dict.fromkeys([*self.keys.values(), *self.features.values(), *times]))

    def groups(self, *, as_numbers: Sequence[str] = ()) -> Iterator[tuple[int, int, Any, int]]:
        """Row groups in the order of the files: (first row, one past the last row, Parquet file, index of the group in the file).

        Text columns of `as_numbers` are read dictionary-encoded, which is how most files store them.
        """
        start = 0
        for name, metadata in zip(self.files, self.metadata, strict=True):
            file = self._open(name, metadata=metadata, read_dictionary=list(as_numbers))
            for group in range(metadata.num_row_groups):
                stop = start + metadata.row_group(group).num_rows
                yield start, stop, file, group
                start = stop

    def table(self, columns: Sequence[str]) -> Any:
        """Whole columns as one Arrow table, which may have no row."""
        parts = [file.read_row_group(group, list(columns), use_threads=False) for _, _, file, group in self.groups()]
        return pa.concat_tables(parts or [self.schema().empty_table()]).select(list(columns))

    def _open(self, file: str, **options: Any) -> Any:
        is_local = self.filesystem is None
        return pq.ParquetFile(file, filesystem=self.filesystem, memory_map=False, pre_buffer=not is_local, **options)


def take(source: FeatureSource, columns: Sequence[str], positions: Int[Integers, " rows"]) -> list[Any]:
    """Arrow arrays with the columns' values at row positions (any order, repeats allowed); null where a position is -1."""
    order = np.argsort(positions)
    found = positions[order]
    found = found[np.searchsorted(found, 0) :]
    parts: list[list[Any]] = [[] for _ in columns]
    for start, stop, file, group in source.groups():
        first, last = np.searchsorted(found, (start, stop))
        if first < last:
            index = pa.array(found[first:last] - start)
            for name, part in zip(columns, parts, strict=True):  # one at a time, so that the next one finds memory that is warm
                part.append(file.read_row_group(group, [name], use_threads=False)[name].combine_chunks().take(index))
    target = np.empty_like(order)
    target[order] = np.arange(len(found) - len(order), len(found))  # positions of -1 come first, and get indices below 0
    schema = source.schema()
    whole = [pa.chunked_array(part, schema.field(name).type) for name, part in zip(columns, parts, strict=True)]
    return [_take_or_null(column.combine_chunks(), target) for column in whole]


def _take_or_null(column: Any, target: Integers) -> Any:
    """The values at `target`, null where it is below 0. Numbers are gathered without a mask first, in a sixth of the time."""
    is_null = target < 0
    if not pa.types.is_primitive(column.type) or len(column) == 0:
        return column.take(pa.array(target, mask=is_null))
    return pc.if_else(pa.array(is_null), pa.scalar(None, column.type), column.take(pa.array(np.maximum(target, 0))))


def between(source: FeatureSource, start_us: int, end_us: int) -> Any:
    """All rows whose event time lies within the bounds (UTC µs), both inclusive, in the order of the files."""
    content = source.table(source.columns)
    time_us = to_microseconds(content[source.time])
    return content.filter(pa.array((time_us >= start_us) & (time_us <= end_us) & (time_us > NEVER)))


def to_microseconds(times: Any) -> Int64[Integers, " rows"]:
    """Timestamps of any unit as µs since 1970, truncated, UTC where they name no zone; null becomes NEVER.

    DataError E107 where the column has no timestamp type.
    """
    if not pa.types.is_timestamp(times.type):
        raise DataError("E107", f"a time has the type {times.type}", remedy="Times are timestamps with a time zone.")
    whole = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
    return np.asarray((whole.fill_null(NEVER) if whole.null_count else whole).to_numpy(), dtype=np.int64)
