"""A mirror of a dataset's files: a folder of the same names, with a bounded sample of each, which the readers read as they would the files.

A file that is larger than a sample is its beginning, a piece of its middle and its end, at ends of lines; of a compressed file within what
its first `MAX_UNPACKED_BYTES` unpack to; of Parquet rows of its first, middle and last row groups.
"""

import gzip
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lodestar.data.readers import decompression
from lodestar.data.readers.collector_parts import is_compressed, is_part
from lodestar.data.readers.parquet import encodings
from lodestar.data.readers.parquet.parquet import UNREADABLE, read_parquet
from lodestar.data.readers.source import damaged, unreadable

SAMPLE_BYTES = 1 << 21
MAX_UNPACKED_BYTES = 1 << 26
PARQUET = b"PAR1"
PARQUET_ROWS = 10_000  # of each of up to three row groups
MAX_WHOLE_PARQUET_BYTES = 1 << 20
_WIDE = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\0\0": "utf-32"}  # texts whose line ends have several bytes


@dataclass(frozen=True, kw_only=True)
class Mirrored:
    """A file's sample at `path`: `share` of the file's bytes or rows, 1 for the whole file; its first `head_lines` are the file's own."""

    path: Path
    share: float = 1.0
    head_lines: int = 1 << 62

    @property
    def is_whole(self) -> bool:
        """Whether the sample is the whole file."""
        return self.share == 1


def mirror(file: Path, target: Path, most_bytes: int = SAMPLE_BYTES, *, head_only: bool = False) -> Mirrored:
    """Write the sample of a file to `target`; DataError E108 where it is damaged or cannot be read.

    Half of `most_bytes` are the file's beginning, a quarter a piece of its middle and one its end.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        with file.open("rb") as content:
            start = content.read(4)
        if start == PARQUET:
            return _mirror_parquet(file, target)
        is_packed, size = bool(decompression.compression_of(file)), file.stat().st_size
        if size <= most_bytes and not is_packed:
            os.symlink(file.absolute(), target)
            return Mirrored(path=target)
        pieces = _unpacked_pieces(file, most_bytes) if is_packed else _pieces(file, size, most_bytes)
    except decompression.DECOMPRESSION_ERRORS as error:
        raise damaged(file, error) from error
    if len(pieces.head) == pieces.num_bytes and is_packed:
        os.symlink(file.absolute(), target)
        return Mirrored(path=target)
    return _write(pieces, target, head_only=head_only)


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """Beginning, middle and end of a file's content, and how many bytes it has, at least."""

    head: bytes
    others: tuple[bytes, ...] = ()
    num_bytes: int


def _pieces(file: Path, size: int, most_bytes: int) -> _Pieces:
    piece = most_bytes // 4
    with file.open("rb") as content:
        head, others = content.read(most_bytes // 2), list[bytes]()
        for start in (max(len(head), (size - piece) // 2), max(len(head), size - piece)):
            content.seek(start)
            others.append(content.read(piece))
    return _Pieces(head=head, others=tuple(others), num_bytes=size)


def _unpacked_pieces(file: Path, most_bytes: int) -> _Pieces:
    """Pieces of what a compressed file unpacks to, up to `MAX_UNPACKED_BYTES`; of a small sample the beginning alone."""
    is_small = most_bytes < SAMPLE_BYTES
    content = b"".join(_bounded(decompression.read_chunks(file), most_bytes if is_small else MAX_UNPACKED_BYTES))
    if len(content) < most_bytes:
        return _Pieces(head=content, num_bytes=len(content))
    if is_small:
        return _Pieces(head=content[:most_bytes], num_bytes=len(content))
    piece, middle = most_bytes // 4, (len(content) - most_bytes // 4) // 2
    return _Pieces(head=content[: most_bytes // 2], others=(content[middle : middle + piece], content[-piece:]), num_bytes=len(content))


def _bounded(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Chunks, as long as they have fewer bytes together."""
    for chunk in chunks:
        yield chunk
        most -= len(chunk)
        if most <= 0:
            return


def _write(pieces: _Pieces, target: Path, *, head_only: bool) -> Mirrored:
    head = _whole_part(pieces.head)
    others = [] if head_only or head != _whole_lines(pieces.head) else [_inner_lines(piece) for piece in pieces.others]
    content = b"".join([head, *others])
    target.write_bytes(gzip.compress(content, 1) if is_part(target) and is_compressed(target) else content)
    share = min(len(content) / max(pieces.num_bytes, 1), 0.999)
    return Mirrored(path=target, share=share, head_lines=max(1, head.count(b"\n")))


def _whole_part(head: bytes) -> bytes:
    """The beginning of a text up to the end of a line, or of JSON that goes over lines up to the end of an object."""
    if encoding := _WIDE.get(head[:2]):
        text = head.decode(encoding, "ignore")
        return text[: text.rfind("\n") + 1].encode(encoding)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lines = _whole_lines(head)
    first = start.partition(b"\n")[0].rstrip()
    if start[:1] == b"[" or (start[:1] == b"{" and not first.endswith(b"}")):
        return _objects(start.decode("utf-8", "ignore")) or lines
    return lines


def _whole_lines(text: bytes) -> bytes:
    return text[: text.rfind(b"\n") + 1] or text


def _inner_lines(piece: bytes) -> bytes:
    """The whole lines of a piece, of which the first may be cut."""
    start, end = piece.find(b"\n") + 1, piece.rfind(b"\n") + 1
    return piece[start:end]


def _objects(text: str) -> bytes:
    """The JSON objects at the beginning of an array, or one after the other over several lines, in the same form; empty without any."""
    decoder, place, found = json.JSONDecoder(), text.find("{"), list[str]()
    while place >= 0:
        try:
            _, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        found.append(text[place:end])
        place = text.find("{", end)
        if text[end:place].strip() not in {"", ","}:
            break
    is_array = text.startswith("[")
    return ("[" + ",\n".join(found) + "]" if is_array else "\n".join(found)).encode() if found else b""


def _mirror_parquet(file: Path, target: Path) -> Mirrored:
    """Rows of the first, the middle and the last row group, in the types of the file."""
    names = read_parquet(file, ()).names
    try:
        with pq.ParquetFile(file) as content:
            total = content.metadata.num_rows
            is_risky = any(map(encodings.may_unpack_to_much, encodings.groups(content, names)))
            if total <= PARQUET_ROWS and file.stat().st_size <= MAX_WHOLE_PARQUET_BYTES:
                os.symlink(file.absolute(), target)
                return Mirrored(path=target)
            rows = [next(iter(read_parquet(file, names).batches()))] if is_risky else list(_row_groups(content))
        pq.write_table(pa.concat_tables([one.slice(0, PARQUET_ROWS) for one in rows]), target)
    except UNREADABLE as error:
        raise unreadable(file, f"is damaged ({error})") from error
    kept = sum(min(len(one), PARQUET_ROWS) for one in rows)
    return Mirrored(path=target, share=min(kept / max(total, 1), 1.0), head_lines=min(len(rows[0]), PARQUET_ROWS))


def _row_groups(content: "pq.ParquetFile") -> "Iterator[pa.Table]":
    last = content.num_row_groups - 1
    for group in sorted({0, last // 2, last}) if last >= 0 else ():
        batches = content.iter_batches(batch_size=PARQUET_ROWS, row_groups=[group])
        yield pa.Table.from_batches(list(islice(batches, 1)), content.schema_arrow)
