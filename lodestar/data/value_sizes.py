"""How long values of Parquet are, nested ones too, and the beginning of one that is too long.

A value counts as it would as a line of text: a text its bytes, a list the bytes of its values and one between each.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.rules import MOST_VALUE_BYTES

_CUT = "…"  # what follows is left out
_Sizes = NDArray[np.int64]


def row_bytes(values: "pa.Array") -> _Sizes:
    """Bytes of memory, about, that each value takes when its texts are written out; shape [values]."""
    return _sizes(values, _memory)


def shortened(values: "pa.Array") -> "pa.Array":
    """The values, and of each longer than `MOST_VALUE_BYTES` so much of its beginning that it still is; no other is changed."""
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    return _shortened(values, _trimmed)


def _memory(values: "pa.Array") -> _Sizes:
    return np.full(
        len(values), max(1, getattr(values.type, "byte_width", 8) if pa.types.is_fixed_size_binary(values.type) else 8), np.int64
    )


def _least(values: "pa.Array") -> _Sizes:
    """What each value that is no text takes at least in the count of the rules."""
    return np.ones(len(values), np.int64)


def _sizes(values: "pa.Array", plain: Callable[["pa.Array"], _Sizes]) -> _Sizes:
    """Size of each value, where `plain` knows those of values that are neither texts nor nested."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        if not len(values.dictionary):
            return np.ones(len(values), np.int64)
        return np.where(_is_valid(values), _lengths(values.dictionary)[_numbers(values.indices.fill_null(0))], 0) + 1
    if is_text(kind):
        return _lengths(values) + 1
    if is_list(kind) or pa.types.is_map(kind):
        sums = _sums(values.values, plain)
        offsets = _numbers(values.offsets)
        return np.where(_is_valid(values), sums[offsets[1:]] - sums[offsets[:-1]], 0) + 1
    if pa.types.is_struct(kind):
        fields = [_sizes(values.field(place), plain) for place in range(kind.num_fields)]
        return np.sum(fields, axis=0, dtype=np.int64) if fields else np.ones(len(values), np.int64)
    return plain(values)


def _sums(values: "pa.Array", plain: Callable[["pa.Array"], _Sizes]) -> _Sizes:
    """Sizes of the first 0, 1, … values together; shape [values + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(_sizes(values, plain))])


def is_text(kind: "pa.DataType") -> bool:
    """Whether values are texts, or bytes that may be."""
    return any(is_like(kind) for is_like in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary))


def is_list(kind: "pa.DataType") -> bool:
    """Whether values are lists of any length."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _shortened(values: "pa.Array", shorten: Callable[[bytes], bytes]) -> "pa.Array":
    kind = values.type
    if pa.types.is_dictionary(kind):
        texts = _cut_texts(values.dictionary, shorten)
        return values if texts is values.dictionary else pa.DictionaryArray.from_arrays(values.indices, texts)
    if is_text(kind):
        return _cut_texts(values, shorten)
    if is_list(kind) or pa.types.is_map(kind):
        return _cut_lists(values)
    return values


def _cut_texts(texts: "pa.Array", shorten: Callable[[bytes], bytes]) -> "pa.Array":
    long = np.flatnonzero(_lengths(texts) > MOST_VALUE_BYTES)
    if not len(long):
        return texts
    mask = np.zeros(len(texts), bool)
    mask[long] = True
    short = [shorten(bytes(texts[int(place)].as_buffer())) for place in long]
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(short, pa.large_binary()).cast(texts.type))


def _trimmed(text: bytes) -> bytes:
    """A text whose spaces do not count, unless as an id."""
    bare = text.strip(b" ")
    return _begin(bare) if len(bare) > MOST_VALUE_BYTES else b" " * (schema.MAX_ID_BYTES + 1) + bare


def _begin(text: bytes) -> bytes:
    """More than `MOST_VALUE_BYTES` bytes whose last is no space."""
    return (text[:MOST_VALUE_BYTES].decode(errors="ignore") + 2 * _CUT).encode() if len(text) > MOST_VALUE_BYTES else text


def _cut_lists(values: "pa.Array") -> "pa.Array":
    sums, offsets = _sums(values.values, _least), _numbers(values.offsets)
    starts, ends = offsets[:-1], offsets[1:]
    most = sums[starts] + MOST_VALUE_BYTES
    if not (sums[ends] > most).any():
        return values
    lengths = np.where(_is_valid(values), np.minimum(ends, np.searchsorted(sums, most, side="right")) - starts, 0)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    kept = np.arange(first[-1]) + np.repeat(starts - first[:-1], lengths)
    made: Any = {"offsets": pa.array(first, values.offsets.type), "mask": values.is_null()}
    taken = values.values.take(pa.array(kept))
    if pa.types.is_map(values.type):
        keys, items = (_shortened(taken.field(place), _begin) for place in (0, 1))
        return pa.MapArray.from_arrays(made["offsets"], keys, items, mask=made["mask"])
    own = pa.LargeListArray if pa.types.is_large_list(values.type) else pa.ListArray
    return own.from_arrays(made["offsets"], _shortened(taken, _begin), mask=made["mask"])


def _lengths(texts: "pa.Array") -> _Sizes:
    return _numbers(pc.binary_length(texts).fill_null(0))


def _numbers(values: "pa.Array") -> _Sizes:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.int64)


def _is_valid(values: "pa.Array") -> NDArray[np.bool_]:
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)
