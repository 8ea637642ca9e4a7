"""Kinds of files that are not read, by their first bytes, each with the command or the step that makes a file of it that is."""

from pathlib import Path
from typing import NamedTuple

from lodestar.data.readers import decompression
from lodestar.data.readers.file_names import stem
from lodestar.errors import DataError, Location
from lodestar.process.safe_text import quote

PARQUET_MAGIC = b"PAR1"
BEGINNING_BYTES = 1000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Kind(NamedTuple):
    """A kind of file that is not read, and the step that makes one of it that is: FILE and NEW stand for its path and a new file's stem."""

    name: str
    step: str


class _Magic(NamedTuple):
    """Bytes at a place of a file that tell its kind; where `is_binary`, bytes that text may have as well, they need a NUL beside them."""

    magic: bytes
    kind: Kind
    place: int = 0
    is_binary: bool = False


_PYARROW = "python3 -c \"import pyarrow.{0} as a, pyarrow.parquet as p; p.write_table(a.read_table('FILE'), 'NEW.parquet')\""
_DUCKDB = "python3 -c \"import duckdb; duckdb.connect('FILE', read_only=True).sql('FROM events').write_parquet('NEW.parquet')\""
_SAVE_AS_CSV = "Save it as CSV UTF-8 in the program that wrote it."
_WRITE_PARQUET = "Write its table as Parquet, with pandas: DataFrame.to_parquet."
FOLDER = Kind("a folder", "Give a folder of tables, or name a file in it.")
_FEATHER = Kind("a Feather file", f"Convert it: {_PYARROW.format('feather')}")
_PICTURE = Kind("a picture", "Give a file with a row per event.")
_PICKLE = Kind("a Python pickle", _WRITE_PARQUET)
_DUMP = Kind("a dump of a database", "Export each table as CSV from the database.")
_PAGE = Kind("a web page, perhaps of an error or a sign-in", "Download the file itself again.")
_XML = Kind("XML", "Convert it to CSV, or to a JSON object on each line.")
_ZIP = Kind("a zip archive", "Unpack it: python3 -m zipfile -e FILE NEW")
_KINDS = (
    _Magic(b"ARROW1\0\0", _FEATHER),
    _Magic(b"FEA1", _FEATHER, is_binary=True),
    _Magic(b"ORC", Kind("an ORC file", f"Convert it: {_PYARROW.format('orc')}"), is_binary=True),
    _Magic(b"Obj\x01", Kind("an Avro file", 'Write it as Parquet, in Spark: spark.read.format("avro").load("FILE").write.parquet("NEW").')),
    _Magic(b"PARE", Kind("an encrypted Parquet file", "Write it without encryption."), is_binary=True),
    _Magic(b"SQLite format 3\0", Kind("a SQLite database", "Convert it: sqlite3 -header -csv FILE 'SELECT * FROM events' > NEW.csv")),
    _Magic(b"DUCK", Kind("a DuckDB database", f"Convert it: {_DUCKDB}"), place=8, is_binary=True),
    _Magic(b"ustar", Kind("a tar archive", "Unpack it: tar -xf FILE"), place=257),
    _Magic(b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", "Unpack it: 7z x FILE")),
    _Magic(b"Rar!\x1a\x07", Kind("a RAR archive", "Unpack it: unrar x FILE")),
    _Magic(b"\x04\x22\x4d\x18", Kind("an lz4 file", "Unpack it: lz4 -dc FILE > NEW")),
    _Magic(b"\xff\x06\0\0sNaPpY", Kind("a snappy file", "Unpack it: snzip -dc FILE > NEW")),
    _Magic(b"\x1f\x9d", Kind("a file of compress", "Unpack it: gzip -dc FILE > NEW")),
    _Magic(b"]\0\0", Kind("an LZMA file", "Unpack it: xz --format=lzma -dc FILE > NEW")),
    _Magic(b"%PDF-", Kind("a PDF document", _SAVE_AS_CSV)),
    _Magic(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("an Excel file", _SAVE_AS_CSV)),
    _Magic(b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file", _WRITE_PARQUET)),
    _Magic(b"\x93NUMPY", Kind("a NumPy array", _WRITE_PARQUET)),
    _Magic(b"RDX", Kind("an R data file", 'In R: load("FILE"), then write.csv(DATA, "NEW.csv", row.names = FALSE).'), is_binary=True),
    _Magic(b"X\n\0\0\0", Kind("an R data file", 'In R: write.csv(readRDS("FILE"), "NEW.csv", row.names = FALSE).')),
    _Magic(b"version https://git-lfs", Kind("a pointer of Git LFS, and not the file itself", "Download the file: git lfs pull")),
    *(_Magic(start, _DUMP) for start in (b"-- MySQL dump", b"--\n-- PostgreSQL database dump")),
    *(_Magic(start, _PICTURE) for start in (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")),
    *(_Magic(bytes([0x80, protocol]), _PICKLE) for protocol in range(2, 6)),
)
_IN_ZIP = (
    (b"xl/", Kind("an Excel file", _SAVE_AS_CSV)),
    (b"[Content_Types].xml", Kind("an Office document", _SAVE_AS_CSV)),
    (b"mimetypeapplication/vnd.oasis", Kind("an OpenDocument file", _SAVE_AS_CSV)),
    (b".npy", Kind("an archive of NumPy arrays", _WRITE_PARQUET)),
)
_OF_TEXT = ((b"<!doctype html", _PAGE), (b"<html", _PAGE), (b"<head", _PAGE), (b"<?xml", _XML))


def kind_of(path: Path, start: bytes) -> Kind | None:
    """The kind of a file that is not read, by its first decompressed bytes; None for one that may be read."""
    if start.startswith(b"PK\x03\x04"):
        return next((kind for mark, kind in _IN_ZIP if mark in start), _ZIP)
    packed = decompression.compression_of(path)
    if packed and (start.startswith(PARQUET_MAGIC) or decompression.compression(start)):
        return Kind("a file that is packed twice", f"Unpack it: {decompression.UNPACK[packed]} FILE > unpacked-NEW")
    text = start[:BEGINNING_BYTES].removeprefix(_BYTE_ORDER_MARK).lstrip().lower()
    found = [kind for beginning, kind in _OF_TEXT if text.startswith(beginning)]
    found += [one.kind for one in _KINDS if start.startswith(one.magic, one.place) and (not one.is_binary or b"\0" in start)]
    return next(iter(found), None)


def not_read(path: Path, kind: Kind) -> DataError:
    """E161 for a file of a kind that is not read."""
    before, command, after = kind.step.partition("python3 -c ")
    file, new = str(path), stem(path.name).partition(".")[0]
    if command:  # a path within a quoted program
        file, new = (text.replace("\\", "\\\\").replace("'", "\\'") for text in (file, new))
        remedy = before + command + quote(after.strip('"').replace("FILE", file).replace("NEW", new))
    else:
        remedy = kind.step.replace("FILE", quote(file)).replace("NEW", quote(new))
    return DataError("E161", f"the file is {kind.name}, which is not read", remedy=remedy, place=Location(file=path.name))
