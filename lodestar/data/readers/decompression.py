"""Decompress gzip files in chunks, so that memory is bounded whatever a file unpacks to."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

CHUNK_BYTES = 1 << 20
GZIP = b"\x1f\x8b"
_COMPRESSED_BYTES = 1 << 16
_WITH_HEADER = 31  # zlib's word for gzip
DECOMPRESSION_ERRORS = (OSError, EOFError, zlib.error)


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip, by its first two bytes or its name."""
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP or path.suffix == ".gz"


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed if it is gzip."""
    return gzip.open(path) if is_gzip(path) else path.open("rb")  # type: ignore[return-value]


def read_chunks(path: Path) -> Iterator[bytes]:
    """Decompressed chunks of at most `CHUNK_BYTES`; raises one of `DECOMPRESSION_ERRORS` after the readable part of a damaged file."""
    if is_gzip(path):
        yield from _decompress(path)
        return
    with path.open("rb") as file:
        while block := file.read(CHUNK_BYTES):
            yield block


def _decompress(path: Path) -> Iterator[bytes]:
    """Decompress gzip members one after another; zeros between and after them are padding."""
    unpacker = None
    with path.open("rb") as file:
        while packed := file.read(_COMPRESSED_BYTES):
            while packed:
                if unpacker is None or unpacker.eof:
                    packed = packed.lstrip(b"\0") if unpacker else packed
                    if not packed:
                        break
                    unpacker = zlib.decompressobj(_WITH_HEADER)
                if piece := unpacker.decompress(packed, CHUNK_BYTES):
                    yield piece
                packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None and not unpacker.eof:
        if rest := unpacker.flush():
            yield rest
        raise EOFError("it ends before its content does")
