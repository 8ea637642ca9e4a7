"""A file's bytes as they were before gzip, a piece at a time, so that memory stays bounded whatever a file unpacks to."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PIECE_BYTES = 1 << 20
GZIP = b"\x1f\x8b"
_PACKED_BYTES = 1 << 16
_WITH_HEADER = 31  # zlib's word for gzip
DAMAGED = (OSError, EOFError, zlib.error)


def is_packed(path: Path) -> bool:
    """Whether gzip has made the file: its first bytes say so, or else its name."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP or path.suffix == ".gz"


def open_bytes(path: Path) -> IO[bytes]:
    """The content, unpacked."""
    return gzip.open(path) if is_packed(path) else path.open("rb")  # type: ignore[return-value]


def pieces(path: Path) -> Iterator[bytes]:
    """The content, at most `PIECE_BYTES` at a time; one of `DAMAGED` when all is given that can be read of a file that is not whole."""
    if is_packed(path):
        yield from _unpacked(path)
        return
    with path.open("rb") as file:
        while block := file.read(PIECE_BYTES):
            yield block


def _unpacked(path: Path) -> Iterator[bytes]:
    """Member after member; zeros between and behind them are padding."""
    unpacker = None
    with path.open("rb") as file:
        while packed := file.read(_PACKED_BYTES):
            while packed:
                if unpacker is None or unpacker.eof:
                    packed = packed.lstrip(b"\0") if unpacker else packed
                    if not packed:
                        break
                    unpacker = zlib.decompressobj(_WITH_HEADER)
                if piece := unpacker.decompress(packed, PIECE_BYTES):
                    yield piece
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None and not unpacker.eof:
        if rest := unpacker.flush():
            yield rest
        raise EOFError("it ends before its content does")
