"""Read the lines of a text file in blocks of some 4 MB; lines that are too long or not UTF-8 are dropped and reported as malformed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers import decompression
from lodestar.data.readers.encodings import UTF8, to_utf8
from lodestar.data.readers.source import Malformed, checked_chunks
from lodestar.schema.arrays import Int64, Longs

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NEWLINE = b"\n"
SHOWN_BYTES = 200

OnMalformed = Callable[[Malformed], None]


class Block(NamedTuple):
    """Lines including their line ends, and their line numbers in the file, ascending from 1; both [lines]."""

    numbers: Int64[Longs, " lines"]
    lines: "pa.StringArray"


def read_blocks(path: Path, on_malformed: OnMalformed, most_bytes: int | None = None, encoding: str = UTF8) -> Iterator[Block]:
    """Yield blocks of the good lines of a file in an encoding; `on_malformed` is called with each bad one (E104 not UTF-8, E171 too long).

    With `most_bytes` a file that is damaged or unpacks to more is read up to there and reported as malformed (E174) at that line; without,
    one of `decompression.DECOMPRESSION_ERRORS` is raised.
    """
    number, pending, size = 1, list[bytes](), 0
    is_too_long = False
    for piece in _read_chunks(path, most_bytes, encoding):
        if isinstance(piece, str):
            yield from _truncated_tail(b"".join(pending), number, on_malformed, piece)
            return
        if is_too_long:
            _, newline, rest = piece.partition(NEWLINE)
            if not newline:
                continue
            is_too_long, number = False, number + 1
            pending, size = [], 0
        else:
            rest = piece
        pending.append(rest)
        size += len(rest)
        if size > MAX_LINE_BYTES:
            text = b"".join(pending)
            end = text.rfind(NEWLINE) + 1
            if end:
                block = _split(text[:end], number, on_malformed)
                number += text.count(NEWLINE, 0, end)
                yield block
            rest = text[end:]
            if len(rest) > MAX_LINE_BYTES:
                on_malformed(_too_long(number, rest))
                is_too_long, rest = True, b""
            pending, size = [rest], len(rest)
    if text := b"".join(pending):
        yield _split(text, number, on_malformed)


def _truncated_tail(text: bytes, number: int, on_malformed: OnMalformed, reason: str) -> Iterator[Block]:
    """The last complete lines of a damaged file; the rest is reported as malformed (E174)."""
    end = text.rfind(NEWLINE) + 1
    if end:
        yield _split(text[:end], number, on_malformed)
    on_malformed(Malformed(line=number + text.count(NEWLINE), text=_excerpt(text[end:]), message=f"the part {reason}", code="E174"))


def _read_chunks(path: Path, most_bytes: int | None, encoding: str) -> Iterator[bytes | str]:
    """Decompressed chunks; with `most_bytes` the last one is a text with the reason, if the file is damaged or too large."""
    remaining_bytes = most_bytes
    chunks = decompression.read_chunks(path) if encoding == UTF8 else to_utf8(checked_chunks(path, encoding), encoding)
    while True:
        try:
            piece = next(chunks, None)
        except decompression.DECOMPRESSION_ERRORS as error:
            if remaining_bytes is None:
                raise
            yield f"is damaged ({error})"
            return
        if piece is None:
            return
        yield piece
        if remaining_bytes is not None:
            remaining_bytes -= len(piece)
            if remaining_bytes < 0:
                yield f"unpacks to more than {most_bytes:,} bytes"
                return


def _split(text: bytes, first: int, on_malformed: OnMalformed) -> Block:
    """Split text, whose first line has the number `first`, into its good lines; bad ones are reported, empty ones dropped."""
    if first == 1 and text.startswith(BYTE_ORDER_MARK):
        text = text[len(BYTE_ORDER_MARK) :]
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == NEWLINE[0]) + 1
    if not len(ends) or ends[-1] < len(text):
        ends = np.append(ends, len(text))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    numbers = np.arange(first, first + len(ends))
    bad = {int(index): _too_long(first + int(index), text[offsets[index] :]) for index in np.flatnonzero(np.diff(offsets) > MAX_LINE_BYTES)}
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        bad = {**_not_utf8(text, offsets, first), **bad}
    # Empty lines are dropped: a file of these has a thousand times as many lines as one of rows.
    is_good = np.diff(offsets) > 1
    is_good[-1] |= not text.endswith(NEWLINE)
    for index in sorted(bad):
        on_malformed(bad[index])
        is_good[index] = False
    if is_good.all():
        return Block(numbers, lines)
    return Block(numbers[is_good], lines.filter(pa.array(is_good)))


def _not_utf8(text: bytes, offsets: NDArray[np.int32], first: int) -> dict[int, Malformed]:
    """Lines that are not UTF-8 (E104), by index."""
    bad = {}
    for index in range(len(offsets) - 1):
        line = text[offsets[index] : offsets[index + 1]]
        try:
            line.decode()
        except UnicodeDecodeError as error:
            around = _excerpt(line[max(error.start - 10, 0) : error.end + 10])
            bad[index] = Malformed(line=first + index, text=around, message="the text is not UTF-8", code="E104")
    return bad


def _too_long(line: int, text: bytes) -> Malformed:
    return Malformed(line=line, text=_excerpt(text), message=f"the line has more than {MAX_LINE_BYTES:,} bytes", code="E171")


def _excerpt(text: bytes) -> str:
    return text[:SHOWN_BYTES].decode("utf8", "backslashreplace").strip()
