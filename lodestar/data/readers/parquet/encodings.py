"""Choose how to read a Parquet file from its encodings: which columns dictionary-encoded, and how many rows per batch.

A text of 1 MiB that a dictionary holds once may occur in every row. So a column with long texts in its dictionary is read
dictionary-encoded; others are read decoded, which is many times faster.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_ROWS, BATCH_BYTES = 125_000, 64 << 20
TRUSTED_BYTES = 128 << 20  # a row group of at most this size, by its metadata, is read without a trial
LONG_TEXT_BYTES = 4096
_LEVELS_BYTES = 8  # of each value of a list: two levels of 2 bytes and an index of 4
_TEXT = "BYTE_ARRAY"
# With these a few bytes may repeat the previous value; Arrow cannot read them dictionary-encoded.
_DELTA, _DELTA_ROWS = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"), 10_000

Group = Sequence[pq.ColumnChunkMetaData]


class Reading(NamedTuple):
    """How to read a file: leaf columns to read dictionary-encoded, and rows per batch."""

    dictionaries: list[str]
    num_rows: int


def groups(file: "pq.ParquetFile", columns: Collection[str]) -> list[Group]:
    """Footer metadata of the wanted columns' chunks, by row group."""
    found = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    return [[chunk for chunk in map(group.column, range(group.num_columns)) if _column(chunk.path_in_schema) in columns] for group in found]


def may_unpack_to_much(group: Group) -> bool:
    """Whether a row group may unpack to more than TRUSTED_BYTES, by its metadata or its encodings."""
    return sum(map(_unpacked_bytes, group)) > TRUSTED_BYTES or any(_DELTA[0] in chunk.encodings for chunk in group)


def reading(path: Path, columns: Sequence[str]) -> Reading:
    """How to read columns of a file so that a batch takes at most BATCH_BYTES of memory, or one row."""
    with pq.ParquetFile(path) as file:
        chunks = groups(file, columns)
        rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    delta = {chunk.path_in_schema for group in chunks for chunk in group if not {*_DELTA}.isdisjoint(chunk.encodings)}
    with_dictionary = {
        chunk.path_in_schema for group in chunks for chunk in group if chunk.physical_type == _TEXT and chunk.has_dictionary_page
    }
    longest = _longest_texts(path, sorted(with_dictionary - delta), len(chunks))
    most_values = {
        path: max((chunk.num_values for group in chunks for chunk in group if chunk.path_in_schema == path), default=0)
        for path in with_dictionary
    }
    long = {name for name in with_dictionary - delta if _is_long(name, longest[_column(name)], most_values[name])}
    short_bytes = sum(longest[_column(name)] for name in with_dictionary - delta - long)
    row_limits = [
        BATCH_BYTES * num_rows // max(1, sum(map(_unpacked_bytes, group))) for group, num_rows in zip(chunks, rows, strict=True) if num_rows
    ]
    num_rows_per_batch = min(BATCH_ROWS, BATCH_BYTES // max(1, short_bytes), *row_limits, *([_DELTA_ROWS] if delta else []))
    return Reading(dictionaries=sorted(long), num_rows=max(1, num_rows_per_batch))


def _is_long(name: str, longest: int, num_values: int) -> bool:
    """Whether a batch (for lists: a row) of a leaf column may hold more than is trusted."""
    return longest > LONG_TEXT_BYTES or ("." in name and longest * num_values > TRUSTED_BYTES)


def _longest_texts(path: Path, leaves: Sequence[str], num_groups: int) -> dict[str, int]:
    """Bytes of the longest text in each column's dictionaries, which Arrow reads whole with the first row of a group."""
    columns = sorted({_column(leaf) for leaf in leaves})
    longest = dict.fromkeys(columns, 0)
    if not columns:
        return longest
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=leaves) as file:
        for group in range(num_groups):
            for batch in file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
                for name in columns:
                    longest[name] = max([longest[name], *(_longest_text(texts) for texts in _dictionaries(batch[name]))])
                break
    return longest


def _longest_text(texts: "pa.Array") -> int:
    return pc.max(pc.binary_length(texts)).as_py() or 0


def _dictionaries(values: "pa.Array") -> Iterator["pa.Array"]:
    """Dictionaries of an array and of its nested values."""
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        yield from _dictionaries(values.storage)
    elif pa.types.is_dictionary(kind):
        yield values.dictionary
    elif pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            yield from _dictionaries(values.field(index))
    elif pa.types.is_nested(kind):
        yield from _dictionaries(values.values)


def _column(path: str) -> str:
    return path.partition(".")[0]


def _unpacked_bytes(chunk: "pq.ColumnChunkMetaData") -> int:
    """Memory of a chunk with dictionary-encoded texts; a small page may hold any number of list values, so these count extra."""
    in_lists = int(chunk.num_values) if "." in chunk.path_in_schema else 0
    return int(chunk.total_uncompressed_size) + _LEVELS_BYTES * in_lists
