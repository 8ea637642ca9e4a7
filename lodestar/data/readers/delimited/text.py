"""Text of a delimited file as it is parsed: UTF-8, decompressed, with one byte for a delimiter of several."""

import codecs
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from lodestar.data.readers import decompression
from lodestar.data.readers.delimited.dialect import UTF8, Dialect


def read_text(path: Path, dialect: Dialect) -> Iterator[bytes]:
    """Chunks of the text, of which none is empty."""
    chunks: Iterable[bytes] = decompression.read_chunks(path)
    chunks = _without_mark(chunks) if dialect.encoding == UTF8 else _transcode(chunks, dialect.encoding)
    if dialect.stand_in:
        chunks = _replace(chunks, dialect.delimiter.encode(), dialect.stand_in.encode())
    return (chunk for chunk in chunks if chunk)


def open_text(path: Path, dialect: Dialect) -> IO[bytes]:
    """Open the text for reading bytes."""
    return io.BufferedReader(decompression.ChunkStream(read_text(path, dialect)))


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without UTF-8's byte order mark; the codecs of others leave out their own."""
    rest = iter(chunks)
    yield next(rest, b"").removeprefix(codecs.BOM_UTF8)
    yield from rest


def _transcode(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _replace(chunks: Iterable[bytes], old: bytes, new: bytes) -> Iterator[bytes]:
    """Replace `old` from left to right, also where it lies across two chunks."""
    rest = b""
    for chunk in chunks:
        *found, last = (rest + chunk).split(old)
        end = max(0, len(last) - len(old) + 1)
        yield new.join([*found, last[:end]])
        rest = last[end:]
    yield rest
