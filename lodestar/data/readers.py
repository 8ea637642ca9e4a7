"""Files into rows: CSV, JSONL and Parquet, plain or gz, chosen by the file's name."""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lodestar.data.delimited import read_delimited
from lodestar.data.json_lines import read_json_lines
from lodestar.data.source import Source, count_from, unreadable
from lodestar.errors import UsageError

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
BATCH_ROWS = 125_000
UNREADABLE = (pa.ArrowException, OSError, ValueError)  # a name that is no UTF-8 is a ValueError
SUFFIXES = (*DELIMITED, *(f"{suffix}.gz" for suffix in DELIMITED), *JSON_LINES, *(f"{suffix}.gz" for suffix in JSON_LINES), *PARQUET)


def read(path: Path, wanted: Collection[str]) -> Source:
    """The wanted columns of a file; DataError where it cannot be read, UsageError where its name says no known kind."""
    name = path.name.removesuffix(".gz")
    if name.endswith(DELIMITED):
        return read_delimited(path, wanted)
    if name.endswith(JSON_LINES):
        return read_json_lines(path, wanted)
    if path.name.endswith(PARQUET):
        return read_parquet(path, wanted)
    raise UsageError(f"{path.name} is no file that can be read; there are {', '.join(SUFFIXES)}")


def read_parquet(path: Path, wanted: Collection[str]) -> Source:
    """The wanted columns, with the types that the file gives them."""
    try:
        with pq.ParquetFile(path) as file:
            names = tuple(file.schema_arrow.names)
    except UNREADABLE as error:
        raise unreadable(path, f"is no Parquet file ({error})") from error
    columns = tuple(name for name in names if name in wanted)
    return Source(file=path.name, names=names, columns=columns, batches=partial(_batches, path, columns), lines=count_from(1))


def _batches(path: Path, columns: tuple[str, ...]) -> Iterator["pa.Table"]:
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                yield pa.Table.from_batches([batch])
    except UNREADABLE as error:
        raise unreadable(path, f"is damaged ({error})") from error
