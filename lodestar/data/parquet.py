"""Parquet files into rows, in pieces of bounded size, whatever the file's few bytes unpack to.

A value that is too long for the contract comes as the beginning that shows it (`value_sizes`). A file whose footer says that one of its
row groups may unpack to much is first read to its end by a process of its own, whose memory has a limit.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lodestar.data import parquet_encodings
from lodestar.data.parquet_encodings import BATCH_BYTES
from lodestar.data.source import Source, count_from, unreadable
from lodestar.data.value_sizes import row_bytes, shortened
from lodestar.errors import DataError, Place

MOST_READING_BYTES = 1 << 30
TOO_MUCH = 3  # exit status of the trial
UNREADABLE = (pa.ArrowException, OSError, ValueError)  # a name that is no UTF-8 is a ValueError


def read_parquet(path: Path, wanted: Collection[str]) -> Source:
    """The wanted columns, with the types that the file gives them; DataError E107 where it is damaged.

    While it is read, E176 where it cannot be within `MOST_READING_BYTES`.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
    except UNREADABLE as error:
        raise unreadable(path, f"is no Parquet file ({error})") from error
    columns = tuple(name for name in names if name in wanted)
    return Source(file=path.name, names=names, columns=columns, batches=partial(_batches, path, columns), lines=count_from(1))


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator["pa.Table"]:
    try:
        with pq.ParquetFile(path) as file:
            may_be_much = any(map(parquet_encodings.may_unpack_to_much, parquet_encodings.groups(file, columns)))
        if may_be_much:
            _try(path, columns)
        yield from pieces(path, columns)
    except UNREADABLE as error:
        raise unreadable(path, f"is damaged ({error})") from error


def pieces(path: Path, columns: Sequence[str]) -> Iterator["pa.Table"]:
    """Some rows at a time, and fewer where they are long."""
    dictionaries, num_rows = parquet_encodings.reading(path, columns)
    with pq.ParquetFile(path) as file:
        shape = file.schema_arrow
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=dictionaries) as file:
        # Arrow makes no dictionaries of lists where a batch holds rows of two groups.
        is_by_group = any("." in name for name in dictionaries)
        parts = [[group] for group in range(file.num_row_groups)] if is_by_group else [list(range(file.num_row_groups))]
        for batch in (batch for groups in parts for batch in file.iter_batches(num_rows, row_groups=groups, columns=list(columns))):
            short = pa.table({name: shortened(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)})
            for piece in _of_bounded_size(short):
                yield piece.cast(pa.schema([_plain(shape.field(name)) for name in piece.column_names]))


def _plain(field: "pa.Field") -> "pa.Field":
    """A column as it is passed on: as the file has it, but a list of a set length as one of any, since only that can be cut."""
    kind = field.type
    return field.with_type(pa.list_(kind.value_type)) if pa.types.is_fixed_size_list(kind) else field


def _of_bounded_size(rows: "pa.Table") -> Iterator["pa.Table"]:
    """Rows in pieces that take at most `BATCH_BYTES` each, or of one row."""
    sizes = np.zeros(len(rows), np.int64)
    for column in rows.itercolumns():
        sizes += row_bytes(column.chunk(0))
    ends = np.cumsum(sizes)
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield rows.slice(start, end - start)
        start = end


def _try(path: Path, columns: Sequence[str]) -> None:
    """DataError E176 where a process with `MOST_READING_BYTES` does not come to the file's end."""
    python = (sys.executable, "-P", "-m", "lodestar.parents", str(os.getpid()), "-P")  # what lies in the working folder is not imported
    command = [*python, "-m", "lodestar.data.parquet_trial", str(path), str(MOST_READING_BYTES), *columns]
    env = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # the others take a GiB ahead
    trial = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=env)
    if trial.returncode == TOO_MUCH or trial.returncode < 0:
        raise DataError(
            "E176",
            f"reading the file takes more than {MOST_READING_BYTES >> 20:,} MiB: a value or a row unpacks to too much",
            remedy="Leave out values over 1 MiB, or write it in smaller pieces, with row_group_size=10000 in pyarrow.parquet.write_table.",
            place=Place(file=path.name),
        )
    if trial.returncode:
        raise RuntimeError(trial.stderr.decode(errors="replace"))
