"""Files into rows: CSV, JSONL and Parquet, plain or gz, chosen by the file's name."""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar.data.delimited import read_delimited
from lodestar.data.json_lines import read_json_lines
from lodestar.data.source import Source, count_from, unreadable
from lodestar.errors import UsageError

DELIMITED = (".csv", ".tsv", ".txt")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
BATCH_ROWS, BATCH_BYTES = 125_000, 64 << 20
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
    """Some rows at a time, and fewer where they are long: a text that a file holds once may stand in each of its rows."""
    try:
        with pq.ParquetFile(path) as file:
            shape, metadata = file.schema_arrow, file.metadata
        texts = [name for name in columns if _is_text(shape.field(name).type)]
        most = min((_rows_at_once(metadata.row_group(group)) for group in range(metadata.num_row_groups)), default=BATCH_ROWS)
        with pq.ParquetFile(path, pre_buffer=False, read_dictionary=texts) as file:
            for batch in file.iter_batches(most, columns=list(columns)):
                for rows in _of_bounded_size(pa.Table.from_batches([batch])):
                    kinds = [shape.field(name).type if name in texts else rows[name].type for name in rows.column_names]
                    yield rows.cast(pa.schema(list(zip(rows.column_names, kinds, strict=True))))
    except UNREADABLE as error:
        raise unreadable(path, f"is damaged ({error})") from error


def _is_text(kind: "pa.DataType") -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _rows_at_once(group: "pq.RowGroupMetaData") -> int:
    """How many rows of a group take about `BATCH_BYTES` as they are encoded."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * int(group.num_rows) // max(1, int(group.total_byte_size))))


def _of_bounded_size(rows: "pa.Table") -> Iterator["pa.Table"]:
    """Rows in pieces whose texts take at most `BATCH_BYTES` each, or of one row."""
    sizes = np.zeros(len(rows), np.int64)
    for column in rows.itercolumns():
        for_rows = [_sizes(chunk) for chunk in column.chunks if pa.types.is_dictionary(chunk.type)]
        sizes += np.concatenate(for_rows) if for_rows else 0
    ends = np.cumsum(sizes)
    start = 0
    while start < len(rows):
        before = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + BATCH_BYTES, side="right")))
        yield rows.slice(start, end - start)
        start = end


def _sizes(texts: "pa.DictionaryArray") -> NDArray[np.int64]:
    """Bytes of each value."""
    if not (_is_text(texts.type.value_type) and len(texts.dictionary)):
        return np.zeros(len(texts), np.int64)
    lengths = pc.binary_length(texts.dictionary).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.where(texts.is_valid().to_numpy(zero_copy_only=False), lengths[texts.indices.fill_null(0).to_numpy()], 0)
