"""Read a data file by its suffix: CSV, TSV, JSON Lines (plain or gzip) or Parquet."""

from collections.abc import Collection
from pathlib import Path

from lodestar.data.readers.delimited import read_delimited
from lodestar.data.readers.json_lines import read_json_lines
from lodestar.data.readers.parquet import read_parquet
from lodestar.data.readers.source import Source
from lodestar.errors import UsageError

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
SUFFIXES = (*DELIMITED, *(f"{suffix}.gz" for suffix in DELIMITED), *JSON_LINES, *(f"{suffix}.gz" for suffix in JSON_LINES), *PARQUET)


def read(path: Path, wanted: Collection[str]) -> Source:
    """Read the wanted columns of a file; UsageError for an unknown suffix, DataError as the reader of its format."""
    name = path.name.removesuffix(".gz")
    if name.endswith(DELIMITED):
        return read_delimited(path, wanted)
    if name.endswith(JSON_LINES):
        return read_json_lines(path, wanted)
    if path.name.endswith(PARQUET):
        return read_parquet(path, wanted)
    raise UsageError(f"{path.name} is no file that can be read; there are {', '.join(SUFFIXES)}", code="E306")
