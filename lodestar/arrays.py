"""Arrays in one file: the same arrays give the same bytes, and reading runs no code."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_ENDS = "_ends"


def save(file: Path, arrays: Arrays) -> None:
    """As numpy's savez does, without the time of day that it writes into the archive."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(arrays[name]), allow_pickle=False)


def load(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def pack(name: str, texts: list[str]) -> Arrays:
    """Texts as two arrays: all UTF-8 bytes in a row, and where each text ends."""
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    narrow = np.min_scalar_type(ends[-1]) if len(ends) else np.uint8  # half of a catalogue's bytes would be ends, and most of them zero
    return {name: np.frombuffer(b"".join(encoded), dtype=np.uint8), name + _ENDS: ends.astype(narrow)}


def unpack(name: str, arrays: Arrays) -> list[str]:
    """The texts that `pack` took."""
    content, ends = arrays[name].tobytes(), arrays[name + _ENDS].tolist()
    return [content[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]
