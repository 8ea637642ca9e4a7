"""Arrays in one file: the same arrays give the same bytes, and reading runs no code."""

import os
import shutil
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_ENDS = "_ends"
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


def load(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def mapped(file: Path) -> Arrays:
    """The same where they lie, to be read only: what is looked at comes from the file then, and goes again where memory is short."""
    found: Arrays = {}
    with zipfile.ZipFile(file) as archive, file.open("rb") as content:
        for entry in archive.infolist():
            content.seek(entry.header_offset + _LENGTHS)
            content.seek(sum(struct.unpack("<HH", content.read(4))), os.SEEK_CUR)
            np.lib.format.read_magic(content)
            shape, _, dtype = np.lib.format.read_array_header_1_0(content)
            is_empty = 0 in shape
            values = np.zeros(shape, dtype) if is_empty else np.asarray(np.memmap(file, dtype, "r", content.tell(), shape))
            found[entry.filename.removesuffix(".npy")] = values
    return found


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
    """The texts that `pack` took."""
    content, ends = arrays[name].tobytes(), arrays[name + _ENDS].tolist()
    return [content[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
