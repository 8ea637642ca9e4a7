"""Files into rows: CSV, JSONL and Parquet, plain or gz, chosen by the file's name."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lodestar.data.delimited import read_delimited
from lodestar.data.json_lines import read_json_lines
from lodestar.data.source import Source, count_from, unreadable
from lodestar.errors import DataError, Place, UsageError

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
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
    """The wanted columns; moments with a zone in UTC µs, moments without one as text, numbers as text."""
    try:
        file = pq.ParquetFile(path)
        names = tuple(file.schema_arrow.names)
        rows = file.read(columns=[name for name in names if name in wanted])
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(path, f"is no Parquet file ({error})") from error
    columns = [_plain(path.name, name, rows[name]) for name in rows.column_names]
    return Source(file=path.name, names=names, rows=pa.table(columns, names=rows.column_names), lines=count_from(1))


def _plain(file: str, name: str, values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain(file, name, values.cast(kind.value_type))
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return values.cast(pa.timestamp("us", tz="UTC"), safe=False).cast(pa.int64())
    if pa.types.is_map(kind):
        return values.cast(pa.map_(pa.string(), pa.string()))
    wanted = pa.list_(pa.string()) if pa.types.is_list(kind) or pa.types.is_large_list(kind) else pa.string()
    try:
        plain = values.cast(wanted)
        plain.validate(full=True)
    except pa.ArrowNotImplementedError as error:
        place = Place(file=file, column=name)
        raise DataError("E107", f"{kind} is no type for it", remedy="Write text, numbers or lists of text.", place=place) from error
    except pa.ArrowInvalid as error:
        raise DataError("E104", f"the text is not UTF-8 ({error})", remedy="Convert it.", place=Place(file=file, column=name)) from error
    return plain
