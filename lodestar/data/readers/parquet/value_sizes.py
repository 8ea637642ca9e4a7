"""Sizes of Parquet values, nested ones included, and truncation of values that are too long for the contract.

A value's size is that of its text form: the bytes of a text; for a list the bytes of its values plus one between each.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.contract.rules import MAX_VALUE_BYTES

_ELLIPSIS = "…"
_Sizes = NDArray[np.int64]


def row_bytes(values: "pa.Array") -> _Sizes:
    """Approximate memory of each value with texts decoded, in bytes; [values]."""
    return _sizes(values, _memory)


def truncate_long(values: "pa.Array") -> "pa.Array":
    """The values, those longer than MAX_VALUE_BYTES truncated to a beginning that is still longer, so that validation rejects it (E170)."""
    if pa.types.is_fixed_size_list(values.type):
        values = values.cast(pa.list_(values.type.value_type))
    return _truncate(values, _truncate_trimmed)


def _memory(values: "pa.Array") -> _Sizes:
    return np.full(
        len(values), max(1, getattr(values.type, "byte_width", 8) if pa.types.is_fixed_size_binary(values.type) else 8), np.int64
    )


def _min_size(values: "pa.Array") -> _Sizes:
    """The minimum size of values that are not text: 1 byte each."""
    return np.ones(len(values), np.int64)


def _sizes(values: "pa.Array", plain: Callable[["pa.Array"], _Sizes]) -> _Sizes:
    """Size of each value; `plain` gives the sizes of values that are neither text nor nested."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        if not len(values.dictionary):
            return np.ones(len(values), np.int64)
        return np.where(_is_valid(values), _lengths(values.dictionary)[_numbers(values.indices.fill_null(0))], 0) + 1
    if is_text(kind):
        return _lengths(values) + 1
    if is_list(kind) or pa.types.is_map(kind):
        sums = _cumulative_sizes(values.values, plain)
        offsets = _numbers(values.offsets)
        return np.where(_is_valid(values), sums[offsets[1:]] - sums[offsets[:-1]], 0) + 1
    if pa.types.is_struct(kind):
        fields = [_sizes(values.field(index), plain) for index in range(kind.num_fields)]
        return np.sum(fields, axis=0, dtype=np.int64) if fields else np.ones(len(values), np.int64)  # pyrefly: ignore[bad-return]
    return plain(values)


def _cumulative_sizes(values: "pa.Array", plain: Callable[["pa.Array"], _Sizes]) -> _Sizes:
    """Cumulative sizes of the values, starting with 0; [values + 1]."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(_sizes(values, plain))])


def is_text(kind: "pa.DataType") -> bool:
    """Whether an Arrow type is text or binary, which may hold text."""
    return any(is_like(kind) for is_like in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary))


def is_list(kind: "pa.DataType") -> bool:
    """Whether an Arrow type is a list of variable length."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _truncate(values: "pa.Array", shorten: Callable[[bytes], bytes]) -> "pa.Array":
    kind = values.type
    if pa.types.is_dictionary(kind):
        texts = _truncate_texts(values.dictionary, shorten)
        return values if texts is values.dictionary else pa.DictionaryArray.from_arrays(values.indices, texts)
    if is_text(kind):
        return _truncate_texts(values, shorten)
    if is_list(kind) or pa.types.is_map(kind):
        return _truncate_lists(values)
    return values


def _truncate_texts(texts: "pa.Array", shorten: Callable[[bytes], bytes]) -> "pa.Array":
    long = np.flatnonzero(_lengths(texts) > MAX_VALUE_BYTES)
    if not len(long):
        return texts
    mask = np.zeros(len(texts), bool)
    mask[long] = True
    short = [shorten(bytes(texts[int(index)].as_buffer())) for index in long]
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(short, pa.large_binary()).cast(texts.type))


def _truncate_trimmed(text: bytes) -> bytes:
    """Truncate a text whose surrounding spaces do not count, except in an id."""
    bare = text.strip(b" ")
    return _truncate_text(bare) if len(bare) > MAX_VALUE_BYTES else b" " * (schema.MAX_ID_BYTES + 1) + bare


def _truncate_text(text: bytes) -> bytes:
    """The beginning of a text that is too long, still more than MAX_VALUE_BYTES and not ending in a space; others unchanged."""
    return (text[:MAX_VALUE_BYTES].decode(errors="ignore") + 2 * _ELLIPSIS).encode() if len(text) > MAX_VALUE_BYTES else text


def _truncate_lists(values: "pa.Array") -> "pa.Array":
    """Lists or maps, those that are too long cut after the value that exceeds MAX_VALUE_BYTES."""
    sums, offsets = _cumulative_sizes(values.values, _min_size), _numbers(values.offsets)
    starts, ends = offsets[:-1], offsets[1:]
    max_ends = sums[starts] + MAX_VALUE_BYTES
    if not (sums[ends] > max_ends).any():
        return values
    lengths = np.where(_is_valid(values), np.minimum(ends, np.searchsorted(sums, max_ends, side="right")) - starts, 0)
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    kept = np.arange(first[-1]) + np.repeat(starts - first[:-1], lengths)
    parts: Any = {"offsets": pa.array(first, values.offsets.type), "mask": values.is_null()}
    kept_values = values.values.take(pa.array(kept))
    if pa.types.is_map(values.type):
        keys, items = (_truncate(kept_values.field(index), _truncate_text) for index in (0, 1))
        return pa.MapArray.from_arrays(parts["offsets"], keys, items, mask=parts["mask"])
    list_type = pa.LargeListArray if pa.types.is_large_list(values.type) else pa.ListArray
    return list_type.from_arrays(parts["offsets"], _truncate(kept_values, _truncate_text), mask=parts["mask"])


def _lengths(texts: "pa.Array") -> _Sizes:
    return _numbers(pc.binary_length(texts).fill_null(0))


def _numbers(values: "pa.Array") -> _Sizes:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.int64)


def _is_valid(values: "pa.Array") -> NDArray[np.bool_]:
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), np.bool_)
