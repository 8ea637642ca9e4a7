"""Arrays in one file: the same arrays give the same bytes, and reading runs no code.

What is read says how long it is before anything of that length is made: an archive holds no more than its own bytes.
"""

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
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lodestar.errors import DataError, Place, shorten

Arrays = dict[str, NDArray[Any]]
Kinds = Mapping[str, tuple[str, tuple[int | None, ...]]]  # by name, kinds of numpy's types ("f", "iu") and a shape; None is any length
_ENDS = "_ends"
SUFFIX, NUMBERS, MOST_ARRAYS = ".npy", "biuf", 4_096
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
    OSError,
)
_ALIGNED, _HEADER, _LENGTHS, _ZIP64, _PADDING = 64, 30, 26, 20, 6  # bytes, of a ZIP file's local header and its extra fields
_ALIGNMENT_FIELD = 0xD935  # as Android's zipalign has it: the alignment, and zeros


class Growing:
    """An array of one dimension that lies in a file while it grows, for more than memory should hold."""

    def __init__(self, file: Path, dtype: type) -> None:
        self._file, self.dtype, self._length = file, np.dtype(dtype), 0
        file.touch()

    def __len__(self) -> int:
        return self._length

    def append(self, values: NDArray[Any]) -> None:
        with self._file.open("ab") as content:
            content.write(values.astype(self.dtype, copy=False).tobytes())
        self._length += len(values)

    def blocks(self, length: int = 1 << 20) -> Iterator[NDArray[Any]]:
        """Its values, some at a time."""
        with self._file.open("rb") as content:
            while block := content.read(length * self.dtype.itemsize):
                yield np.frombuffer(block, dtype=self.dtype)

    def write(self, entry: IO[bytes]) -> None:
        """As numpy's format has an array."""
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(entry, header)
        with self._file.open("rb") as content:
            shutil.copyfileobj(content, entry, 1 << 20)


def save(file: Path, arrays: Mapping[str, NDArray[Any] | Growing]) -> None:
    """As numpy's savez does, without the time of day that it writes into the archive, and with numbers where a processor wants them."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(_entry(f"{name}.npy", archive), "w", force_zip64=True) as entry:
                array = arrays[name]
                if isinstance(array, Growing):
                    array.write(entry)
                else:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def load(file: Path | IO[bytes], name: str = "") -> Arrays:
    """All arrays of a file, which may be open already and is then called `name`; DataError E181 where it holds none or is damaged."""
    with _opened(file, name) as (archive, entries):
        found: Arrays = {}
        for entry in entries:
            with archive.open(entry) as content:
                found[entry.filename.removesuffix(SUFFIX)] = np.lib.format.read_array(content, allow_pickle=False)
        return found


def mapped(file: Path) -> Arrays:
    """The same where they lie, to be read only: what is looked at comes from the file then, and goes again where memory is short."""
    found: Arrays = {}
    with _opened(file) as (_, entries), file.open("rb") as content:
        for entry in entries:
            content.seek(entry.header_offset + _LENGTHS)
            content.seek(sum(struct.unpack("<HH", content.read(4))), os.SEEK_CUR)
            shape, _, dtype = _header(content)
            is_empty = 0 in shape
            values = np.zeros(shape, dtype) if is_empty else np.asarray(np.memmap(file, dtype, "r", content.tell(), shape))
            found[entry.filename.removesuffix(SUFFIX)] = values
    return found


@contextmanager
def _opened(file: Path | IO[bytes], name: str = "") -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """The archive and its entries, each of which holds an array of numbers of just its length."""
    name = name or str(file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(entries) > MOST_ARRAYS or len(set(names)) != len(names):
                raise _damaged(name, f"it lists {len(names):,} arrays, of which {len(names) - len(set(names)):,} twice")
            for entry in entries:
                if entry.compress_type != zipfile.ZIP_STORED or not entry.filename.endswith(SUFFIX):
                    raise _damaged(name, f"{shorten(entry.filename)!r} is packed, or no array")
                with archive.open(entry) as content:
                    shape, _, dtype = _header(content)
                    length = math.prod(shape) * dtype.itemsize
                    if dtype.kind not in NUMBERS or content.tell() + length != entry.file_size:
                        raise _damaged(
                            name, f"{shorten(entry.filename)!r} is {dtype} of shape {list(shape)[:8]} in {entry.file_size:,} bytes"
                        )
            yield archive, entries
    except DAMAGE as error:
        raise _damaged(name, str(error) or type(error).__name__) from error


def _header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(content)
    if version != (1, 0):
        raise ValueError(f"arrays of version {version} are not read")
    shape, is_by_column, dtype = np.lib.format.read_array_header_1_0(content)
    if any(length < 0 for length in shape):
        raise ValueError(f"an array has the shape {shape}")
    return shape, is_by_column, dtype


def _damaged(name: str, message: str) -> DataError:
    remedy = "It was cut off, or was not written by this program: make it again."
    return DataError("E181", f"it holds no arrays: {message}", remedy=remedy, place=Place(file=name))


def _entry(name: str, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The next one, padded so that its array begins at a multiple of what processors want; numpy pads its own header."""
    entry = zipfile.ZipInfo(name)
    begins = archive.start_dir + _HEADER + len(name.encode()) + _PADDING + _ZIP64
    padding = -begins % _ALIGNED
    entry.extra = struct.pack("<HHH", _ALIGNMENT_FIELD, 2 + padding, _ALIGNED) + bytes(padding)
    return entry


def pack(name: str, texts: Sequence[str]) -> Arrays:
    """Texts as two arrays: all UTF-8 bytes in a row, and where each text ends."""
    ends = np.cumsum(np.fromiter((len(text.encode()) for text in texts), np.int64, len(texts)))
    return packed(name, np.frombuffer("".join(texts).encode(), dtype=np.uint8), ends)


def packed(name: str, content: NDArray[np.uint8], ends: NDArray[np.int64]) -> Arrays:
    """The same, of texts that are bytes in a row already."""
    narrow = np.min_scalar_type(ends[-1]) if len(ends) else np.uint8  # half of a catalogue's bytes would be ends, and most of them zero
    return {name: content, name + _ENDS: ends.astype(narrow)}


def unpack(name: str, arrays: Arrays) -> list[str]:
    """The texts that `pack` took; DataError E181 where the arrays are none that it gave."""
    content, ends = arrays.get(name), arrays.get(name + _ENDS)
    if content is None or ends is None or content.dtype != np.uint8 or ends.dtype.kind not in "iu" or ends.ndim != 1:
        raise _damaged(name, "texts are missing")
    bounds = np.append(0, ends.astype(np.int64))
    if (np.diff(bounds) < 0).any() or bounds[-1] != content.size:
        raise _damaged(name, "texts end elsewhere than they say")
    whole, places = content.tobytes(), bounds.tolist()
    try:
        return [whole[start:end].decode() for start, end in itertools.pairwise(places)]
    except UnicodeDecodeError as error:
        raise _damaged(name, f"texts are no UTF-8 ({error.reason})") from error
