"""How the columns of a Parquet file are encoded, and so how they are read: which as dictionaries, and how many rows at a time.

A text of 1 MiB that a file holds once, in a dictionary, may stand in each of its rows. So a column whose dictionary holds long texts is
read as a dictionary; others are read as they are, which is many times faster.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

BATCH_ROWS, BATCH_BYTES = 125_000, 64 << 20
TRUSTED_BYTES = 128 << 20  # a row group that says it unpacks to no more is read without a trial
LONG_TEXT_BYTES = 4096
_LEVELS_BYTES = 8  # of each value of a list: two levels of 2 bytes and an index of 4
_TEXT = "BYTE_ARRAY"
# By these a few bytes may repeat the value before them; Arrow makes no dictionaries of them.
_DELTA, _DELTA_ROWS = ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"), 10_000

Group = Sequence["pq.ColumnChunkMetaData"]


class Reading(NamedTuple):
    """The leaves to read as dictionaries, and how many rows to read at once."""

    dictionaries: list[str]
    num_rows: int


def groups(file: "pq.ParquetFile", columns: Collection[str]) -> list[Group]:
    """What the footer says of the wanted columns, by row group."""
    found = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    return [[chunk for chunk in map(group.column, range(group.num_columns)) if _column(chunk.path_in_schema) in columns] for group in found]


def may_unpack_to_much(group: Group) -> bool:
    """Whether a page, or a row, of the group may be that large."""
    return sum(map(_unpacked_bytes, group)) > TRUSTED_BYTES or any(_DELTA[0] in chunk.encodings for chunk in group)


def reading(path: Path, columns: Sequence[str]) -> Reading:
    """How to read the wanted columns of a file."""
    with pq.ParquetFile(path) as file:
        chunks = groups(file, columns)
        rows = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    delta = {chunk.path_in_schema for group in chunks for chunk in group if not {*_DELTA}.isdisjoint(chunk.encodings)}
    coded = {chunk.path_in_schema for group in chunks for chunk in group if chunk.physical_type == _TEXT and chunk.has_dictionary_page}
    longest = _longest(path, sorted(coded - delta), len(chunks))
    most_values = {
        path: max((chunk.num_values for group in chunks for chunk in group if chunk.path_in_schema == path), default=0) for path in coded
    }
    long = {name for name in coded - delta if _is_long(name, longest[_column(name)], most_values[name])}
    short_bytes = sum(longest[_column(name)] for name in coded - delta - long)
    at_once = [
        BATCH_BYTES * num_rows // max(1, sum(map(_unpacked_bytes, group))) for group, num_rows in zip(chunks, rows, strict=True) if num_rows
    ]
    most = min(BATCH_ROWS, BATCH_BYTES // max(1, short_bytes), *at_once, *([_DELTA_ROWS] if delta else []))
    return Reading(dictionaries=sorted(long), num_rows=max(1, most))


def _is_long(name: str, longest: int, num_values: int) -> bool:
    """Whether a batch, or of lists a row, may hold more than is trusted."""
    return longest > LONG_TEXT_BYTES or ("." in name and longest * num_values > TRUSTED_BYTES)


def _longest(path: Path, leaves: Sequence[str], num_groups: int) -> dict[str, int]:
    """Bytes of the longest text in the dictionaries of each column; they come whole with the first row."""
    columns = sorted({_column(leaf) for leaf in leaves})
    longest = dict.fromkeys(columns, 0)
    if not columns:
        return longest
    with pq.ParquetFile(path, pre_buffer=False, read_dictionary=leaves) as file:
        for group in range(num_groups):
            for batch in file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
                for name in columns:
                    longest[name] = max([longest[name], *(_longest_of(texts) for texts in _dictionaries(batch[name]))])
                break
    return longest


def _longest_of(texts: "pa.Array") -> int:
    return pc.max(pc.binary_length(texts)).as_py() or 0


def _dictionaries(values: "pa.Array") -> Iterator["pa.Array"]:
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        yield from _dictionaries(values.storage)
    elif pa.types.is_dictionary(kind):
        yield values.dictionary
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _dictionaries(values.field(place))
    elif pa.types.is_nested(kind):
        yield from _dictionaries(values.values)


def _column(path: str) -> str:
    return path.partition(".")[0]


def _unpacked_bytes(chunk: "pq.ColumnChunkMetaData") -> int:
    """How much a chunk takes while its texts are a dictionary; of lists a page of few bytes may hold any number of values."""
    in_lists = int(chunk.num_values) if "." in chunk.path_in_schema else 0
    return int(chunk.total_uncompressed_size) + _LEVELS_BYTES * in_lists
