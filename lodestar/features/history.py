"""A feature view's rows in Parquet files, of which only what is wanted is read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar.errors import DataError

Ints = NDArray[np.signedinteger[Any]]
NONE = -1  # the place of what is nowhere
NEVER = int(np.iinfo(np.int64).min)  # the time of what has none


@dataclass(frozen=True, kw_only=True)
class History:
    """Parquet files that are read as one table, and which of its columns say whom, when, since when and what.

    `keys` and `features` name a column of the files for each name outside. `known` may be empty: then a row is known when it happens.
    A row counts until its time plus `ttl_us`, that microsecond included; 0 is no limit. Files are local if there is no `filesystem`.
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
        return [self._opened(file).metadata for file in self.files]

    def schema(self) -> Any:
        return self.metadata[0].schema.to_arrow_schema()

    @property
    def columns(self) -> list[str]:
        """Keys, features and times as the files call them."""
        times = [self.time, self.known] if self.known else [self.time]
        return list(dict.fromkeys([*self.keys.values(), *self.features.values(), *times]))

    def groups(self, *, as_numbers: Sequence[str] = ()) -> Iterator[tuple[int, int, Any, int]]:
        """For each row group the place of its first row and the one behind its last, the file, and which of its groups it is.

        Text of `as_numbers` comes as dictionaries, which is how most files hold it.
        """
        start = 0
        for name, metadata in zip(self.files, self.metadata, strict=True):
            file = self._opened(name, metadata=metadata, read_dictionary=list(as_numbers))
            for group in range(metadata.num_row_groups):
                stop = start + metadata.row_group(group).num_rows
                yield start, stop, file, group
                start = stop

    def table(self, columns: Sequence[str]) -> Any:
        """Whole columns, which may have no row."""
        parts = [file.read_row_group(group, list(columns), use_threads=False) for _, _, file, group in self.groups()]
        return pa.concat_tables(parts or [self.schema().empty_table()]).select(list(columns))

    def _opened(self, file: str, **options: Any) -> Any:
        is_local = self.filesystem is None
        return pq.ParquetFile(file, filesystem=self.filesystem, memory_map=False, pre_buffer=not is_local, **options)


def taken(history: History, columns: Sequence[str], places: Ints) -> list[Any]:
    """The columns' values at places, null where the place is -1."""
    order = np.argsort(places)
    wanted = places[order]
    wanted = wanted[np.searchsorted(wanted, 0) :]
    parts: list[list[Any]] = [[] for _ in columns]
    for start, stop, file, group in history.groups():
        first, last = np.searchsorted(wanted, (start, stop))
        if first < last:
            index = pa.array(wanted[first:last] - start)
            for name, part in zip(columns, parts, strict=True):  # one at a time, so that the next one finds memory that is warm
                part.append(file.read_row_group(group, [name], use_threads=False)[name].combine_chunks().take(index))
    answer = np.empty_like(order)
    answer[order] = np.arange(len(wanted) - len(order), len(wanted))  # those of no place come first, and below 0
    schema = history.schema()
    whole = [pa.chunked_array(part, schema.field(name).type) for name, part in zip(columns, parts, strict=True)]
    return [_laid_out(column.combine_chunks(), answer) for column in whole]


def _laid_out(column: Any, answer: Ints) -> Any:
    """The values at `answer`, null where it is below 0. Numbers are taken as if all were there, which takes a sixth of the time."""
    is_null = answer < 0
    if not pa.types.is_primitive(column.type) or len(column) == 0:
        return column.take(pa.array(answer, mask=is_null))
    return pc.if_else(pa.array(is_null), pa.scalar(None, column.type), column.take(pa.array(np.maximum(answer, 0))))


def between(history: History, start_us: int, end_us: int) -> Any:
    """All rows whose time lies within the bounds."""
    content = history.table(history.columns)
    time_us = microseconds(content[history.time])
    return content.filter(pa.array((time_us >= start_us) & (time_us <= end_us) & (time_us > NEVER)))


def microseconds(times: Any) -> Ints:
    """Times of any unit as µs since 1970, cut off, UTC where they name no zone; what is null lies before everything."""
    if not pa.types.is_timestamp(times.type):
        raise DataError("E107", f"a time has the type {times.type}", remedy="Times are timestamps with a time zone.")
    whole = times.cast(pa.timestamp("us", times.type.tz), safe=False).cast(pa.int64())
    return np.asarray((whole.fill_null(NEVER) if whole.null_count else whole).to_numpy(), dtype=np.int64)
