""".npz archives of numeric arrays: deterministic bytes, no pickle, memory mapping, and safe to read from untrusted sources.

Declared sizes are checked against the archive's before memory is allocated.
"""

import errno
import itertools
import math
import os
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lodestar.errors import DataError, Location
from lodestar.process.safe_text import shorten
from lodestar.schema.arrays import Int64, Longs, Num, Shaped, UInt8

Arrays = dict[str, Shaped[NDArray[Any], "..."]]
Kinds = Mapping[str, tuple[str, tuple[int | None, ...]]]  # by array name: numpy dtype kinds ("f", "iu") and shape; None is any length
_ENDS = "_ends"
SUFFIX, NUMBERS, MAX_ARRAYS = ".npy", "biuf", 4_096
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    tokenize.TokenError,
    struct.error,
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    OverflowError,
    RecursionError,
    NotImplementedError,
    RuntimeError,
)
_ALIGNED, _HEADER, _LENGTHS, _ZIP64, _PADDING = 64, 30, 26, 20, 6  # bytes, of a ZIP file's local header and its extra fields
_ALIGNMENT_FIELD = 0xD935  # extra field of Android's zipalign: the alignment and padding


class AppendOnlyArray:
    """One-dimensional array that grows in a file, for data larger than memory."""

    def __init__(self, file: Path, dtype: type) -> None:
        self._file, self.dtype, self._length = file, np.dtype(dtype), 0
        file.touch()

    def __len__(self) -> int:
        return self._length

    def append(self, values: Shaped[NDArray[Any], " values"]) -> None:
        """Append values, converted to the array's dtype."""
        with self._file.open("ab") as content:
            content.write(values.astype(self.dtype, copy=False).tobytes())
        self._length += len(values)

    def blocks(self, length: int = 1 << 20) -> Iterator[Num[NDArray[Any], "_"]]:
        """Iterate over the values in blocks of `length`."""
        with self._file.open("rb") as content:
            while block := content.read(length * self.dtype.itemsize):
                yield np.frombuffer(block, dtype=self.dtype)

    def write(self, entry: IO[bytes]) -> None:
        """Write the array in .npy format."""
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(entry, header)
        with self._file.open("rb") as content:
            shutil.copyfileobj(content, entry, 1 << 20)


def save(file: Path, arrays: Mapping[str, Shaped[NDArray[Any], "..."] | AppendOnlyArray]) -> None:
    """Like numpy.savez, but without timestamps (same arrays, same bytes) and with data aligned to 64 bytes for memory mapping."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(_entry(f"{name}.npy", archive), "w", force_zip64=True) as entry:
                array = arrays[name]
                if isinstance(array, AppendOnlyArray):
                    array.write(entry)
                else:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def load(file: Path | IO[bytes], name: str = "") -> Arrays:
    """Load all arrays of a file (a path, or an open file that messages call `name`); raises DataError E181 if it is damaged."""
    with _opened(file, name) as (archive, entries):
        found: Arrays = {}
        for entry in entries:
            with archive.open(entry) as content:
                found[entry.filename.removesuffix(SUFFIX)] = np.lib.format.read_array(content, allow_pickle=False)
        return found


def load_mmap(file: Path) -> Arrays:
    """Memory-map all arrays of a file, read-only; raises DataError E181 if it is damaged."""
    found: Arrays = {}
    with _opened(file) as (_, entries), file.open("rb") as content:
        for entry in entries:
            content.seek(entry.header_offset + _LENGTHS)
            content.seek(sum(struct.unpack("<HH", content.read(4))), os.SEEK_CUR)
            shape, order, dtype = _header(content)
            is_empty = 0 in shape
            values = np.zeros(shape, dtype) if is_empty else np.asarray(np.memmap(file, dtype, "r", content.tell(), shape, order))
            found[entry.filename.removesuffix(SUFFIX)] = values
    return found


@contextmanager
def _opened(file: Path | IO[bytes], name: str = "") -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """Open an archive and check its entries: unique names, uncompressed, numeric dtypes, sizes that match the headers."""
    name = name or str(file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(entries) > MAX_ARRAYS or len(set(names)) != len(names):
                raise _damaged(name, f"it lists {len(names):,} arrays, {len(names) - len(set(names)):,} of them duplicates")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(SUFFIX):
                    raise _damaged(name, f"{shorten(entry.filename)!r} is compressed, or not an array")
                with archive.open(entry) as content:
                    shape, _, dtype = _header(content)
                    length = math.prod(shape) * dtype.itemsize
                    if dtype.kind not in NUMBERS or content.tell() + length != entry.file_size:
                        raise _damaged(
                            name, f"{shorten(entry.filename)!r} is {dtype} of shape {list(shape)[:8]} in {entry.file_size:,} bytes"
                        )
            yield archive, entries
    except (*DAMAGE, OSError) as error:
        # EINVAL: a damaged directory names a place before the file's beginning. All else is the machine's: no such file, no permission.
        if isinstance(error, OSError) and error.errno not in {None, errno.EINVAL}:
            raise
        raise _damaged(name, str(error) or type(error).__name__) from error


def _header(content: IO[bytes]) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype[Any]]:
    """Shape, order of the elements (rows or columns) and dtype of an array, from its .npy header."""
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        raise ValueError(f"the .npy version {version} is not supported")
    shape, is_by_column, dtype = np.lib.format.read_array_header_1_0(content)
    if any(length < 0 for length in shape):
        raise ValueError(f"an array has the shape {shape}")
    return shape, "F" if is_by_column else "C", dtype


def _damaged(name: str, message: str) -> DataError:
    remedy = "It is truncated or was not written by this program: write it again."
    return DataError("E181", f"it is not a valid archive of arrays: {message}", remedy=remedy, place=Location(file=name))


def _entry(name: str, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The next entry of an archive, padded so that its array is aligned to 64 bytes; numpy pads its own header."""
    entry = zipfile.ZipInfo(name)
    start = archive.start_dir + _HEADER + len(name.encode()) + _PADDING + _ZIP64
    padding = -start % _ALIGNED
    entry.extra = struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + padding, _ALIGNED) + bytes(padding)
    return entry


def pack(name: str, texts: Sequence[str]) -> Arrays:
    """Pack texts into two arrays: the concatenated UTF-8 bytes, and the end offset of each text."""
    ends = np.cumsum(np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts)))
    return packed(name, np.frombuffer("".join(texts).encode(), dtype=np.uint8), ends)


def packed(name: str, content: UInt8[NDArray[np.uint8], " bytes"], ends: Int64[Longs, " texts"]) -> Arrays:
    """`pack` for texts that are concatenated already; offsets get the narrowest unsigned dtype."""
    narrow = np.min_scalar_type(ends[-1]) if len(ends) else np.uint8  # int64 offsets would be half of a catalogue's bytes
    return {name: content, name + _ENDS: ends.astype(narrow)}


def unpack(name: str, arrays: Arrays) -> list[str]:
    """Unpack texts from the arrays of `pack`; raises DataError E181 if they are missing or damaged."""
    content, ends = arrays.get(name), arrays.get(name + _ENDS)
    if content is None or ends is None or content.dtype != np.uint8 or ends.dtype.kind not in "iu" or ends.ndim != 1:
        raise _damaged(name, "texts are missing")
    bounds = np.append(0, ends.astype(np.int64))
    if (np.diff(bounds) < 0).any() or bounds[-1] != content.size:
        raise _damaged(name, "the offsets of texts do not match their bytes")
    whole, offsets = content.tobytes(), bounds.tolist()
    try:
        return [whole[start:end].decode() for start, end in itertools.pairwise(offsets)]
    except UnicodeDecodeError as error:
        raise _damaged(name, f"texts are not UTF-8 ({error.reason})") from error
