"""Read Parquet files in batches of bounded size, whatever a small file unpacks to.

A value that is too long for the contract is truncated, but stays too long (`value_sizes`). A file whose footer allows a large row group is
first read in a subprocess with a memory limit.
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

from lodestar.data.readers.parquet import encodings
from lodestar.data.readers.parquet.encodings import BATCH_BYTES
from lodestar.data.readers.parquet.value_sizes import row_bytes, truncate_long
from lodestar.data.readers.source import Source, count_from, unreadable
from lodestar.errors import DataError, Location

MAX_READING_BYTES = 1 << 30
TOO_MUCH = 3  # exit status of the trial read
UNREADABLE = (pa.ArrowException, OSError, ValueError)  # ValueError: a column name that is not UTF-8


def read_parquet(path: Path, wanted: Collection[str]) -> Source:
    """Read the wanted columns with the file's types; DataError E108 where it is damaged.

    While batches are read, E176 where reading needs more than `MAX_READING_BYTES` of memory.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
    except UNREADABLE as error:
        raise unreadable(path, f"is no Parquet file ({error})") from error
    columns = tuple(name for name in names if name in wanted)
    return Source(file=path.name, names=names, columns=columns, batches=partial(_batches, path, columns), lines=count_from(1))


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator["pa.Table"]:
    found = 0
    try:
        with pq.ParquetFile(path) as file:
            num_rows = file.metadata.num_rows
            is_risky = any(map(encodings.may_unpack_to_much, encodings.groups(file, columns)))
        if is_risky:
            _trial_read(path, columns)
        for piece in pieces(path, columns):
            found += len(piece)
            yield piece
    except UNREADABLE as error:
        raise unreadable(path, f"is damaged ({error})") from error
    if columns and found != num_rows:
        raise unreadable(path, f"is damaged (it has {found:,} rows, and {num_rows:,} by its footer)")


def pieces(path: Path, columns: Sequence[str]) -> Iterator["pa.Table"]:
    """Batches of the columns with too long values truncated, each of bounded size: the longer the rows, the fewer."""
    dictionaries, num_rows = encodings.reading(path, columns)
    with pq.ParquetFile(path) as file:
        shape = file.schema_arrow
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=dictionaries) as file:
        # Arrow cannot read nested columns as dictionaries where a batch spans two row groups.
        is_by_group = any("." in name for name in dictionaries)
        parts = [[group] for group in range(file.num_row_groups)] if is_by_group else [list(range(file.num_row_groups))]
        for batch in (batch for groups in parts for batch in file.iter_batches(num_rows, row_groups=groups, columns=list(columns))):
            short = pa.table({name: truncate_long(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)})
            for piece in _bounded_slices(short):
                yield piece.cast(pa.schema([_plain(shape.field(name)) for name in piece.column_names]))


def _plain(field: "pa.Field") -> "pa.Field":
    """The type a column is passed on with: the file's, but a fixed-size list becomes a list, which can be truncated."""
    kind = field.type
    return field.with_type(pa.list_(kind.value_type)) if pa.types.is_fixed_size_list(kind) else field


def _bounded_slices(rows: "pa.Table") -> Iterator["pa.Table"]:
    """Slices of at most `BATCH_BYTES` of memory each, or of one row."""
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


def _trial_read(path: Path, columns: Sequence[str]) -> None:
    """DataError E176 where a subprocess limited to `MAX_READING_BYTES` cannot read the whole file."""
    # -P: import no module of the working folder.
    python = (sys.executable, "-P", "-m", "lodestar.process.parent_death", str(os.getpid()), "-P")
    command = [*python, "-m", "lodestar.data.readers.parquet.trial", str(path), str(MAX_READING_BYTES), *columns]
    env = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"}  # the other pools reserve a GiB ahead
    trial = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=env)
    if trial.returncode == TOO_MUCH or trial.returncode < 0:
        raise DataError(
            "E176",
            f"reading the file takes more than {MAX_READING_BYTES >> 20:,} MiB: a value or a row unpacks to too much",
            remedy="Leave out values over 1 MiB, or write it in smaller pieces, with row_group_size=10000 in pyarrow.parquet.write_table.",
            place=Location(file=path.name),
        )
    if trial.returncode:
        raise RuntimeError(trial.stderr.decode(errors="replace"))
