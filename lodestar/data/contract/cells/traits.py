"""What the texts of a batch's column have in common, found without a pass of SQL, so that only odd columns pay for what is odd."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar.schema.arrays import Bool, Flags

ASCII_SPACE = 32
# First bytes in UTF-8 of spaces that are not ASCII; a last byte from 0x80 on may end one.
SPACE_BYTES = np.array([0xC2, 0xE1, 0xE2, 0xE3], np.uint8)
NOT_ASCII = 0x80
POINT = ord(".")


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a column of texts may have: any text at all, spaces around one, a decimal point, a text that is one of those sought."""

    has_text: bool = True
    has_spaces: bool = True
    has_point: bool = True
    has_sought: bool = True


def find(values: "pa.ChunkedArray", sought: "pa.Array") -> Traits:
    """The traits of a column of texts; `has_spaces` may be said of a text that only ends in a letter beyond ASCII."""
    parts = [part for chunk in values.chunks if (part := _bytes(chunk)) is not None]
    if not parts:
        return Traits(has_text=False, has_spaces=False, has_point=False, has_sought=False)
    spaces = any(_has_spaces(content, starts, ends) for content, starts, ends in parts)
    return Traits(
        has_spaces=spaces,
        has_point=any(bool((content[starts[0] : ends[-1]] == POINT).any()) for content, starts, ends in parts),
        has_sought=spaces or bool(pc.any(pc.is_in(values, value_set=sought)).as_py()),
    )


def _bytes(chunk: "pa.StringArray") -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]] | None:
    """The bytes of an array of texts, and where each text that is not empty starts and ends; None without any."""
    _, offsets, content = chunk.buffers()
    if offsets is None or content is None or not len(chunk):
        return None
    bounds = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    starts, ends = bounds[:-1], bounds[1:]
    if bounds[0] == bounds[-1]:
        return None
    is_full = ends > starts
    return np.frombuffer(content, np.uint8), starts[is_full], ends[is_full]


def _has_spaces(content: NDArray[np.uint8], starts: NDArray[np.int32], ends: NDArray[np.int32]) -> bool:
    first, last = content[starts], content[ends - 1]
    return bool(_is_space(first, np.isin(first, SPACE_BYTES)).any() or _is_space(last, last >= NOT_ASCII).any())


def _is_space(edge: NDArray[np.uint8], is_wide: Bool[Flags, " texts"]) -> Bool[Flags, " texts"]:
    return (edge <= ASCII_SPACE) | is_wide
