"""Read a data file: delimited text (CSV, TSV), JSON Lines or Parquet."""

from collections.abc import Collection
from pathlib import Path

from lodestar.data.readers.delimited.delimited import read_delimited
from lodestar.data.readers.json_objects.json_lines import read_json_lines
from lodestar.data.readers.options import CSV, FROM_CONTENT, JSON_LINES, PARQUET, ReadOptions
from lodestar.data.readers.parquet.parquet import read_parquet
from lodestar.data.readers.source import Source
from lodestar.errors import UsageError

DELIMITED_SUFFIXES, JSON_SUFFIXES, PARQUET_SUFFIXES = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson"), (".parquet",)
_TEXT_SUFFIXES = (*DELIMITED_SUFFIXES, *JSON_SUFFIXES)
SUFFIXES = (*_TEXT_SUFFIXES, *(f"{suffix}.gz" for suffix in _TEXT_SUFFIXES), *PARQUET_SUFFIXES)


def read(path: Path, wanted: Collection[str], options: ReadOptions = FROM_CONTENT) -> Source:
    """Read the wanted columns of a file; UsageError for an unknown kind, DataError as the reader of its format."""
    match options.format or _format(path, options):
        case "csv":
            return read_delimited(path, wanted, options)
        case "json-lines":
            return read_json_lines(path, wanted)
        case "parquet":
            return read_parquet(path, wanted)
        case _:
            raise UsageError(f"{path.name} is no file that can be read; there are {', '.join(SUFFIXES)}")


def _format(path: Path, options: ReadOptions) -> str:
    """The format by the file's suffix, or by options that only one format has; empty where neither says it."""
    name = path.name.removesuffix(".gz")
    if name.endswith(JSON_SUFFIXES):
        return JSON_LINES
    if path.name.endswith(PARQUET_SUFFIXES):
        return PARQUET
    is_described = options.delimiter or options.columns or options.header is not None or options.quoting
    return CSV if name.endswith(DELIMITED_SUFFIXES) or is_described else ""
