"""Read a data file of any format: delimited text (CSV, TSV), JSON, Python dictionaries or Parquet."""

from collections.abc import Collection
from pathlib import Path

from lodestar.data.readers.delimited.delimited import read_delimited
from lodestar.data.readers.formats import format_of
from lodestar.data.readers.json_objects.json_lines import read_json
from lodestar.data.readers.options import CSV, FROM_CONTENT, PARQUET, ReadOptions
from lodestar.data.readers.parquet.parquet import read_parquet
from lodestar.data.readers.source import Source


def read(path: Path, wanted: Collection[str], options: ReadOptions = FROM_CONTENT) -> Source:
    """Read the wanted columns of a file; DataError as `format_of` for a kind that is not read, or as the reader of its format."""
    found = format_of(path, options)
    if found == CSV:
        return read_delimited(path, wanted, options)
    return read_parquet(path, wanted) if found == PARQUET else read_json(path, wanted, found, options.encoding)
