"""Decompress gzip, xz, bzip2 and zstd in chunks, so that memory is bounded whatever a file unpacks to.

The first bytes say how a file is compressed, not its name.
"""

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from lodestar.data.readers.collector_parts import is_compressed, is_part

CHUNK_BYTES = 1 << 20
GZIP, XZ, BZIP2, ZSTD = "gzip", "xz", "bz2", "zstd"
SUFFIXES = {GZIP: (".gz", ".gzip"), XZ: (".xz",), BZIP2: (".bz2",), ZSTD: (".zst", ".zstd")}
UNPACK = {GZIP: "gzip -dc", XZ: "xz -dc", BZIP2: "bzip2 -dc", ZSTD: "zstd -dc"}  # commands
_MAGIC = {GZIP: b"\x1f\x8b", XZ: b"\xfd7zXZ\x00", BZIP2: b"BZh", ZSTD: b"\x28\xb5\x2f\xfd"}
_COMPRESSED_BYTES = 1 << 16
_WITH_HEADER = 31  # zlib's word for gzip
_XZ_MEMORY_BYTES = 1 << 28
_CUT = "it ends before its content does"
DECOMPRESSION_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


def compression_of(path: Path) -> str:
    """How a file is compressed, by its first bytes; empty where it is not. Of a landed part the name says it, whatever is in it."""
    if is_part(path):
        return GZIP if is_compressed(path) else ""
    with path.open("rb") as file:
        return compression(file.read(max(map(len, _MAGIC.values()))))


def compression(start: bytes) -> str:
    """How something that begins with these bytes is compressed, empty where it is not."""
    return next((name for name, magic in _MAGIC.items() if start.startswith(magic)), "")


def without_suffix(name: str) -> str:
    """A file's name in lower case, without a suffix of compression."""
    low = name.lower()
    return next((low.removesuffix(suffix) for suffixes in SUFFIXES.values() for suffix in suffixes if low.endswith(suffix)), low)


def open_decompressed(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, decompressed."""
    return io.BufferedReader(ChunkStream(read_chunks(path))) if compression_of(path) else path.open("rb")


def read_chunks(path: Path) -> Iterator[bytes]:
    """Decompressed chunks of at most `CHUNK_BYTES`; raises one of `DECOMPRESSION_ERRORS` after the readable part of a damaged file."""
    match compression_of(path):
        case "gzip":
            yield from _gunzip(path)
        case "xz":
            yield from _decompress(path, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES))
        case "bz2":
            yield from _decompress(path, bz2.BZ2Decompressor)
        case "zstd":
            yield from _unzstd(path)
        case _:
            with path.open("rb") as file:
                while block := file.read(CHUNK_BYTES):
                    yield block


def _gunzip(path: Path) -> Iterator[bytes]:
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
        raise EOFError(_CUT)


def _decompress(path: Path, new: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor]) -> Iterator[bytes]:
    """Decompress streams of xz or bzip2 one after another; zeros between and after them are padding."""
    unpacker = new()
    with path.open("rb") as file:
        packed = file.read(_COMPRESSED_BYTES)
        while packed or not unpacker.needs_input:
            if piece := unpacker.decompress(packed, CHUNK_BYTES):
                yield piece
            packed = b""
            if unpacker.eof:
                packed = unpacker.unused_data.lstrip(b"\0")
                while not packed and (block := file.read(_COMPRESSED_BYTES)):
                    packed = block.lstrip(b"\0")
                if not packed:
                    return
                unpacker = new()
            elif unpacker.needs_input:
                packed = file.read(_COMPRESSED_BYTES)
    raise EOFError(_CUT)


def _unzstd(path: Path) -> Iterator[bytes]:
    """Decompress frames of zstd by Arrow, whose windows are at most 128 MiB; the standard library has none before Python 3.14."""
    import pyarrow as pa

    try:
        with pa.input_stream(str(path), compression=ZSTD) as stream:
            while piece := stream.read(CHUNK_BYTES):
                yield piece
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


class ChunkStream(io.RawIOBase):
    """Chunks of bytes, of which none is empty, as a raw stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read the next bytes into a buffer; returns how many, 0 at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
