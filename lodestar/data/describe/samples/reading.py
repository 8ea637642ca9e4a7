"""Read the sample of a file, with what has to be tried where its content leaves open how."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.declaration import projection
from lodestar.data.declaration.relations import elements
from lodestar.data.describe.samples.file_sample import MAX_ROWS, Doubt, FileSample, as_texts
from lodestar.data.describe.samples.header import LINE, Spacing, is_known_name, spacing
from lodestar.data.describe.samples.mirror import SAMPLE_BYTES, Mirrored, mirror
from lodestar.data.readers.encodings import read_start
from lodestar.data.readers.options import NO_QUOTES, PYTHON_LITERAL, ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.data.readers.table_files import partitions, with_partitions
from lodestar.errors import DataError, Location

_TRIED = {"E104": "encoding", "E172": "quoting", "E175": "format"}
_START_BYTES = 1 << 16
_BINARY = (0x00, 0x04, 0x05, 0x06, 0x0E, 0x0F, 0x10, 0x7F)
_WINDOWS = (0x80, 0x91, 0x92, 0x93, 0x94, 0x96, 0x97)


def read_sample(path: Path, file: str, target: Path, database: Any, most_bytes: int = SAMPLE_BYTES) -> FileSample:
    """The sample of a file, mirrored to `target`; DataError as the readers where no option makes it readable.

    What has to be tried is a doubt: another encoding, quotes as text, Python's dictionaries, a first line that is a row.
    """
    mirrored = mirror(path, target, most_bytes)
    try:
        return _read(mirrored, file, database, ReadOptions(), ())
    except DataError as error:
        if mirrored.is_whole:
            raise of_file(error, file) from error
        mirrored = mirror(path, target, most_bytes, head_only=True)  # a piece may begin within quotes
        try:
            return _read(mirrored, file, database, ReadOptions(), ())
        except DataError:
            raise of_file(error, file) from None


def of_file(error: DataError, file: str) -> DataError:
    """An error of reading a sample, with the name of the file."""
    place = replace(error.place, file=file) if error.place else Location(file=file)
    return DataError(error.code, error.message, remedy=error.remedy, place=place)


def _read(mirrored: Mirrored, file: str, database: Any, options: ReadOptions, doubts: tuple[Doubt, ...]) -> FileSample:
    try:
        rows, types = _rows(mirrored.path, file, options, database)
    except DataError as error:
        if error.code == "E179" and options.header is None and not options.columns:
            return replace(_read(mirrored, file, database, replace(options, header=False), doubts), has_header=False)
        tried = _attempt(mirrored.path, file, options, error)
        if tried is None or tried.key in {doubt.key for doubt in doubts}:
            raise
        return _read(mirrored, file, database, with_option(options, tried), (*doubts, tried))
    sample = FileSample(file=file, mirrored=mirrored, options=options, rows=rows, types=types, database=database, doubts=doubts)
    if len(rows.column_names) > 1 or options.delimiter or not sample.is_delimited:
        return sample
    found = spacing(mirrored.path)
    if found is Spacing.EVEN:
        return _read(mirrored, file, database, replace(options, delimiter=" ", header=None), doubts)
    return sample if found is Spacing.NONE else _sequences(sample)


def _sequences(sample: FileSample) -> FileSample:
    """The sample of a file whose lines are a user and the items after it: a row for each item."""
    options = ReadOptions(delimiter="\t", columns=(LINE,), quoting=NO_QUOTES)
    lines, _ = _rows(sample.mirrored.path, sample.file, options, sample.database)
    sample.database.register("sequences", lines)
    ids = f"SELECT {elements(LINE, ' ')} AS ids FROM sequences"
    query = f"SELECT ids[1] AS {schema.USER_ID}, unnest(ids[2:]) AS {schema.ITEM_ID} FROM ({ids}) LIMIT {MAX_ROWS}"
    rows = sample.database.execute(query).to_arrow_table()
    sample.database.unregister("sequences")
    types = dict(zip(rows.column_names, rows.schema.types, strict=True))
    return replace(sample, options=options, rows=rows, types=types, has_header=True, is_sequences=True, _cache={})


def with_option(options: ReadOptions, doubt: Doubt) -> ReadOptions:
    """The options with the one that was tried."""
    match doubt.key:
        case "encoding":
            return replace(options, encoding=doubt.value)
        case "quoting":
            return replace(options, quoting=doubt.value)
        case _:
            return replace(options, format=doubt.value)


def _rows(path: Path, file: str, options: ReadOptions, database: Any) -> tuple["pa.Table", dict[str, "pa.DataType"]]:
    """The first rows as text, without columns whose name comes twice, and the types of the file; E179 for a header that is a row."""
    counts = Counter(_names(path, options))
    wanted = {name for name, count in counts.items() if count == 1}
    values = partitions(Path(file))
    source = with_partitions(read(path, wanted, options), values, values)
    found, size = list[pa.Table](), 0
    for batch in source.batches():
        found.append(batch)
        size += len(batch)
        if size >= MAX_ROWS:
            break
    _check_malformed(source, size)
    rows = pa.concat_tables(found).slice(0, MAX_ROWS) if found else pa.table({name: pa.array([], pa.string()) for name in source.columns})
    return as_texts(database, rows), projection.types_of(rows.schema, rows.schema.names)


def _names(path: Path, options: ReadOptions) -> tuple[str, ...]:
    """Names of the columns; E179 for a header that is a row, unless columns are known by one of its names."""
    try:
        return read(path, (), options).names
    except DataError as error:
        if error.code != "E179" or options.header is not None or options.columns:
            raise
        names = read(path, (), replace(options, header=True)).names
        if not any(map(is_known_name, names)):
            raise
        return names


def _check_malformed(source: Source, num_rows: int) -> None:
    """DataError E109 at the first line that is no row, where there are not even as many rows as such lines."""
    bad = next(iter(source.malformed()), None)
    if bad is not None and not num_rows:
        place = Location(file=source.file, line=bad.line, value=bad.text)
        raise DataError(bad.code, bad.message, remedy="Write one row on a line.", place=place)


def _attempt(path: Path, file: str, options: ReadOptions, error: DataError) -> Doubt | None:
    """What to try after an error of reading, with the error's code and place; None where nothing is left."""
    place = replace(error.place, file=file) if error.place else Location(file=file)
    key = _TRIED.get(error.code, "")
    if not key or getattr(options, key):
        return None
    value = {"encoding": _encoding(path), "quoting": NO_QUOTES, "format": PYTHON_LITERAL}[key]
    return Doubt(key=key, value=value, code=error.code, message=error.message, place=place) if value else None


def _encoding(path: Path) -> str:
    """An encoding in which a text that is not UTF-8 may be; empty for what is no text.

    UTF-16 where every other byte is 0; Windows-1252 where a byte is a character there and none in Latin-1; else Latin-1.
    """
    start = read_start(path, _START_BYTES)
    odd, even = start[1::2].count(0), start[0::2].count(0)
    if max(odd, even) > len(start) / 4 and min(odd, even) < len(start) / 20:
        return "utf-16-le" if odd > even else "utf-16-be"
    if any(byte in start for byte in map(bytes, zip(_BINARY, strict=True))):
        return ""
    return "cp1252" if any(byte in start for byte in map(bytes, zip(_WINDOWS, strict=True))) else "latin1"
