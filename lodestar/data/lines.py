"""The lines of a text file, some 4 MB at a time; a line that is none, for its length or its bytes, is left out and said to be bad."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar.data import unpacked
from lodestar.data.rules import MOST_LINE_BYTES
from lodestar.data.source import Malformed

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NEWLINE = b"\n"
SHOWN_BYTES = 200

Tell = Callable[[Malformed], None]


class Block(NamedTuple):
    """Lines with their ends, and their numbers in the file, ascending from 1."""

    numbers: NDArray[np.int64]
    lines: "pa.StringArray"


def blocks(path: Path, tell: Tell, most_bytes: int | None = None) -> Iterator[Block]:
    """All lines; `tell` hears of the bad ones.

    With `most_bytes` a file that is longer, or damaged, is read as far as it goes and told to be bad at the line where it ends; without,
    one of `unpacked.DAMAGED` is raised.
    """
    number, pending, size = 1, list[bytes](), 0
    is_endless = False
    for piece in _pieces(path, most_bytes):
        if isinstance(piece, str):
            yield from _last(b"".join(pending), number, tell, piece)
            return
        if is_endless:
            _, newline, rest = piece.partition(NEWLINE)
            if not newline:
                continue
            is_endless, number = False, number + 1
            pending, size = [], 0
        else:
            rest = piece
        pending.append(rest)
        size += len(rest)
        if size > MOST_LINE_BYTES:
            text = b"".join(pending)
            end = text.rfind(NEWLINE) + 1
            if end:
                block = _split(text[:end], number, tell)
                number += text.count(NEWLINE, 0, end)
                yield block
            rest = text[end:]
            if len(rest) > MOST_LINE_BYTES:
                tell(_endless(number, rest))
                is_endless, rest = True, b""
            pending, size = [rest], len(rest)
    if text := b"".join(pending):
        yield _split(text, number, tell)


def _last(text: bytes, number: int, tell: Tell, why: str) -> Iterator[Block]:
    """What is whole of the end of a damaged file."""
    end = text.rfind(NEWLINE) + 1
    if end:
        yield _split(text[:end], number, tell)
    tell(Malformed(line=number + text.count(NEWLINE), text=_shown(text[end:]), message=f"the part {why}", code="E174"))


def _pieces(path: Path, most_bytes: int | None) -> Iterator[bytes | str]:
    """The content, and at the end, where it is not what it should be, why."""
    left = most_bytes
    found = unpacked.pieces(path)
    while True:
        try:
            piece = next(found, None)
        except unpacked.DAMAGED as error:
            if left is None:
                raise
            yield f"is damaged ({error})"
            return
        if piece is None:
            return
        yield piece
        if left is not None:
            left -= len(piece)
            if left < 0:
                yield f"unpacks to more than {most_bytes:,} bytes"
                return


def _split(text: bytes, first: int, tell: Tell) -> Block:
    if first == 1 and text.startswith(BYTE_ORDER_MARK):
        text = text[len(BYTE_ORDER_MARK) :]
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == NEWLINE[0]) + 1
    if not len(ends) or ends[-1] < len(text):
        ends = np.append(ends, len(text))
    offsets = np.concatenate([[0], ends]).astype(np.int32)
    lines = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(text))
    numbers = np.arange(first, first + len(ends))
    bad = {int(place): _endless(first + int(place), text[offsets[place] :]) for place in np.flatnonzero(np.diff(offsets) > MOST_LINE_BYTES)}
    try:
        lines.validate(full=True)
    except pa.ArrowInvalid:
        bad = {**_not_utf8(text, offsets, first), **bad}
    # Lines without a character but their end; a file of these has a thousand times as many as one of rows.
    is_good = np.diff(offsets) > 1
    is_good[-1] |= not text.endswith(NEWLINE)
    for place in sorted(bad):
        tell(bad[place])
        is_good[place] = False
    if is_good.all():
        return Block(numbers, lines)
    return Block(numbers[is_good], lines.filter(pa.array(is_good)))


def _not_utf8(text: bytes, offsets: NDArray[np.int32], first: int) -> dict[int, Malformed]:
    bad = {}
    for place in range(len(offsets) - 1):
        line = text[offsets[place] : offsets[place + 1]]
        try:
            line.decode()
        except UnicodeDecodeError as error:
            around = _shown(line[max(error.start - 10, 0) : error.end + 10])
            bad[place] = Malformed(line=first + place, text=around, message="the text is not UTF-8", code="E104")
    return bad


def _endless(line: int, text: bytes) -> Malformed:
    return Malformed(line=line, text=_shown(text), message=f"the line has more than {MOST_LINE_BYTES:,} bytes", code="E171")


def _shown(text: bytes) -> str:
    return text[:SHOWN_BYTES].decode("utf8", "backslashreplace").strip()
