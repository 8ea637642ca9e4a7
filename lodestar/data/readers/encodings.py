"""Encoding of a text file, and its text as UTF-8."""

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path

from lodestar.data.readers import decompression
from lodestar.data.readers.source import checked_chunks, damaged

UTF8 = "utf8"
ENCODING_BYTES = 1 << 10  # of a text's start, to tell its encoding
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_start(path: Path, num_bytes: int) -> bytes:
    """The first decompressed bytes of a file; DataError E108 where it cannot be read."""
    try:
        with decompression.open_decompressed(path) as content:
            return content.read(num_bytes)
    except decompression.DECOMPRESSION_ERRORS as error:
        raise damaged(path, error) from error


def encoding_of(start: bytes, declared: str = "") -> str:
    """The encoding that the byte order mark at the start of a text gives, the declared one without a mark, UTF-8 without both.

    UTF-16 and UTF-32 without a mark have the order of bytes that the zeros in most texts tell.
    """
    marked = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if start.startswith(mark)), "")
    name = codecs.lookup(marked or declared or UTF8).name
    if name == "utf-8":
        return UTF8
    if not marked and name in {"utf-16", "utf-32"}:
        return f"{name}-be" if start[0::2].count(0) > start[1::2].count(0) else f"{name}-le"
    return marked or declared


def decode_start(start: bytes, encoding: str) -> str:
    """The text of a file's first bytes, without byte order mark; the last character, which may be cut, is left out if it is."""
    return start.decode("utf-8-sig" if encoding == UTF8 else encoding, "ignore")


def to_utf8(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Chunks of text as UTF-8 without byte order mark, none empty; what is not in `encoding` becomes U+FFFD, except in UTF-8."""
    converted = _without_mark(chunks) if encoding == UTF8 else _transcode(chunks, encoding)
    return (chunk for chunk in converted if chunk)


def read_text(path: Path, encoding: str) -> Iterator[str]:
    """Text of a file in chunks, without byte order mark; DataError E108 where it is damaged, E104 where it is not in `encoding`."""
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == UTF8 else encoding)()
    return (decoder.decode(chunk) for chunk in checked_chunks(path, encoding))


def _without_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without UTF-8's byte order mark; the codecs of others leave out their own."""
    rest = iter(chunks)
    yield next(rest, b"").removeprefix(codecs.BOM_UTF8)
    yield from rest


def _transcode(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for chunk in chunks:
        yield decoder.decode(chunk).encode(errors="replace")
    yield decoder.decode(b"", final=True).encode(errors="replace")
