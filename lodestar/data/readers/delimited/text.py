"""Text of a delimited file as it is parsed: UTF-8, decompressed, with one byte for a delimiter of several."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from lodestar.data.readers import decompression
from lodestar.data.readers.delimited.dialect import Dialect
from lodestar.data.readers.encodings import to_utf8


def read_text(path: Path, dialect: Dialect) -> Iterator[bytes]:
    """Chunks of the text, of which none is empty."""
    chunks = to_utf8(decompression.read_chunks(path), dialect.encoding)
    if not dialect.stand_in:
        return chunks
    return (chunk for chunk in _replace(chunks, dialect.delimiter.encode(), dialect.stand_in.encode()) if chunk)


def open_text(path: Path, dialect: Dialect) -> IO[bytes]:
    """Open the text for reading bytes."""
    return io.BufferedReader(decompression.ChunkStream(read_text(path, dialect)))


def _replace(chunks: Iterable[bytes], old: bytes, new: bytes) -> Iterator[bytes]:
    """Replace `old` from left to right, also where it lies across two chunks."""
    rest = b""
    for chunk in chunks:
        *found, last = (rest + chunk).split(old)
        end = max(0, len(last) - len(old) + 1)
        yield new.join([*found, last[:end]])
        rest = last[end:]
    yield rest
