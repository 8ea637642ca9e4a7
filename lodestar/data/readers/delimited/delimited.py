"""Read delimited text (CSV, TSV and the like) with every value as text.

Arrow parses; line numbers of rows come from a second, slower pass, which only runs when there is a row error to locate.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from lodestar.data.contract.rules import MAX_LINE_BYTES
from lodestar.data.readers import decompression
from lodestar.data.readers.delimited.dialect import STAND_INS, Dialect, Sample, needs_stand_in, sniff
from lodestar.data.readers.delimited.first_line import looks_like_data, looks_like_header, suggest_columns
from lodestar.data.readers.delimited.quoting import TextScan, check_multiline, decide_quoting, scan
from lodestar.data.readers.delimited.records import BYTE_ORDER_MARK, NUL, fault, records
from lodestar.data.readers.delimited.text import open_text
from lodestar.data.readers.encodings import ENCODING_BYTES, UTF8, encoding_of, read_start
from lodestar.data.readers.options import BACKSLASH, FROM_CONTENT, ReadOptions
from lodestar.data.readers.source import Malformed, Source, unreadable
from lodestar.errors import DataError, Location

BLOCK_BYTES = MAX_LINE_BYTES  # the longest row that Arrow accepts; it reads up to 32 blocks ahead
BATCH_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How a file is read: its dialect, what the scan of its text found, and the columns that are read.

    `is_quoting_declared`: a person says how it quotes, and that values with line ends are no rows in quotes.
    """

    dialect: Dialect
    found: TextScan
    included: tuple[str, ...]
    is_quoting_declared: bool

    @property
    def places(self) -> list[int]:
        """Places of the columns that are read."""
        return [self.dialect.names.index(name) for name in self.included]


@dataclass(kw_only=True)
class _FirstPass:
    """Result of the first pass: number of rows, and whether some lines are no rows."""

    rows: int = 0
    has_malformed: bool = False


def read_delimited(path: Path, wanted: Collection[str], options: ReadOptions = FROM_CONTENT) -> Source:
    """Read the wanted columns as text; what the options leave open is decided from the file.

    Malformed lines (E109): of another number of values, with a NUL byte, and where files were joined a header or a byte order mark.
    DataError E173 for a wanted column that comes twice, E104 for the wrong encoding, E108 for a damaged file, E201 for an empty one, E172
    for a quote that is not closed, E179 for a header that is data or data that are a header; while batches are read, E171 for a row that
    is too long and E172 for a quote that swallows rows.
    """
    encoding = encoding_of(read_start(path, ENCODING_BYTES), options.encoding)
    dialect, rows = _sample(path, options, encoding)
    found = scan(path, dialect)
    resolve = None if options.quoting else lambda quoting: _sample(path, replace(options, quoting=quoting), encoding).dialect
    dialect, notes = decide_quoting(path, dialect, found, resolve)
    included = tuple(name for name in dialect.names if name in wanted)
    _check_first_line(path, dialect, rows, options, is_known=bool(included))
    _check_unique(path, included)
    form = _Form(dialect=dialect, found=found, included=included, is_quoting_declared=bool(options.quoting))
    first_pass = _FirstPass()
    return Source(
        file=path.name,
        names=dialect.names,
        columns=included,
        batches=partial(_batches, path, form, first_pass),
        lines=partial(_lines, path, form),
        malformed=lambda: _malformed(path, form) if first_pass.has_malformed else (),
        notes=notes,
    )


def _check_first_line(path: Path, dialect: Dialect, rows: list[list[str]], options: ReadOptions, *, is_known: bool) -> None:
    """DataError E179 for a first line that is a row and was to be the header, or the other way round; `is_known`: it has a wanted name."""
    if options.header is not None:
        return
    if dialect.header and not is_known and looks_like_data(dialect.header, rows):
        names = json.dumps(suggest_columns([dialect.header, *rows]), ensure_ascii=False)
        place = Location(file=path.name, line=dialect.header_lines, value=dialect.delimiter.join(dialect.header))
        raise DataError("E179", "the line looks like data, and not like a header", remedy=f"Declare columns = {names}.", place=place)
    if not dialect.header and looks_like_header(rows[0], dialect.names):
        place = Location(file=path.name, line=1, value=dialect.delimiter.join(rows[0]))
        raise DataError("E179", "the line looks like a header, and not like data", remedy="Declare header = true as well.", place=place)


def _sample(path: Path, options: ReadOptions, encoding: str) -> Sample:
    """The dialect and the first rows, with a byte that the file does not have for a delimiter that Arrow cannot take; E108 without one."""
    sample = sniff(path, options, encoding)
    dialect = sample.dialect
    if not needs_stand_in(dialect.delimiter):
        return sample
    free = set(STAND_INS)
    with open_text(path, dialect) as text:
        while chunk := text.read(decompression.CHUNK_BYTES):
            free = {choice for choice in free if choice.encode() not in chunk}
    if not free:
        raise unreadable(path, f"has a delimiter of several bytes, and all control characters from {STAND_INS[-1]!r} to {STAND_INS[0]!r}")
    return Sample(replace(dialect, stand_in=max(free)), sample.rows)


def _check_unique(path: Path, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        place = Location(file=path.name, line=1, column=repeated[0])
        raise DataError("E173", "the column is named twice", remedy="Keep one of the two.", place=place)


def _batches(path: Path, form: _Form, first_pass: _FirstPass) -> "Iterator[pa.Table]":
    """Batches of some 16 MB of the rows; other lines are skipped, and counted in the first pass."""
    dialect, first_pass.rows = form.dialect, 0

    def skip(_row: Any) -> str:
        first_pass.has_malformed = True
        first_pass.rows += 1
        return "skip"

    columns = list(form.included or dialect.names[:1])
    try:
        with (
            _open_stream(path, dialect) as stream,
            arrow_csv.open_csv(
                stream,
                arrow_csv.ReadOptions(column_names=list(dialect.names), skip_rows=dialect.header_lines, block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(
                    delimiter=dialect.separator,
                    quote_char=dialect.quote or False,
                    escape_char="\\" if dialect.quoting == BACKSLASH else False,
                    newlines_in_values=dialect.is_multiline,
                    invalid_row_handler=skip,
                ),
                arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            ) as reader,
        ):
            for rows in _concatenate(reader):
                first_pass.rows += len(rows)
                good = _without_faults(rows.select(list(form.included)), form)
                first_pass.has_malformed |= len(good) < len(rows)
                yield _restored(good, dialect)
    except (pa.ArrowInvalid, OSError) as error:
        _check_ends(path, dialect)
        raise unreadable(path, f"cannot be parsed ({error})") from error
    if dialect.is_multiline and not form.is_quoting_declared and form.found.lines > first_pass.rows:
        check_multiline(path, dialect)


def _without_faults(rows: "pa.Table", form: _Form) -> "pa.Table":
    """The rows without those that `records.fault` refuses: the same conditions, on columns."""
    bad, dialect = list[pa.ChunkedArray](), form.dialect
    if form.found.has_nul:
        bad += [pc.match_substring(column, NUL) for column in rows.itercolumns()]
    if form.found.has_mark and dialect.names[0] in form.included:
        bad.append(pc.starts_with(rows[dialect.names[0]], BYTE_ORDER_MARK))
    if dialect.header and len(form.included) > 1:
        equal = [pc.equal(rows[name], dialect.header[place]) for name, place in list(zip(form.included, form.places, strict=True))[:1]]
        if pc.any(equal[0]).as_py():
            equal += [pc.equal(rows[name], dialect.header[place]) for name, place in zip(form.included, form.places, strict=True)]
            bad.append(reduce(pc.and_, equal))
    return rows.filter(pc.invert(reduce(pc.or_, bad))) if bad else rows


def _open_stream(path: Path, dialect: Dialect) -> Any:
    """The file's text for Arrow, which unpacks plain UTF-8 itself."""
    compression = decompression.compression_of(path)
    if dialect.encoding == UTF8 and not dialect.stand_in and compression != decompression.XZ:
        return pa.input_stream(str(path), compression=compression or None)
    return open_text(path, dialect)


def _restored(rows: "pa.Table", dialect: Dialect) -> "pa.Table":
    """The rows with the delimiter that values have within quotes."""
    if not dialect.stand_in or not dialect.quote:
        return rows
    for place, name in enumerate(rows.column_names):
        rows = rows.set_column(place, name, pc.replace_substring(rows[name], dialect.stand_in, dialect.delimiter))
    return rows


def _concatenate(batches: "Iterable[pa.RecordBatch]") -> "Iterator[pa.Table]":
    """Concatenate batches to `BATCH_BYTES` each, since every batch costs a query."""
    pending, size = list[pa.RecordBatch](), 0
    for batch in batches:
        pending.append(batch)
        size += batch.nbytes
        if size >= BATCH_BYTES:
            yield pa.Table.from_batches(pending)
            pending, size = [], 0
    if pending:
        yield pa.Table.from_batches(pending)


def _check_ends(path: Path, dialect: Dialect) -> None:
    """DataError E171 at the first row that is too long."""
    for _ in records(path, dialect):
        pass


def _lines(path: Path, form: _Form, rows: Iterable[int]) -> Iterator[int]:
    """First line of each row, for ascending row numbers, from a pass with Python's csv reader."""
    wanted, places = iter(rows), form.places
    row = next(wanted, None)
    row_lines = (line for line, record in records(path, form.dialect) if not fault(record, form.dialect, places))
    for number, line in enumerate(row_lines):
        if row is None:
            break
        if number == row:
            yield line
            row = next(wanted, None)


def _malformed(path: Path, form: _Form) -> Iterator[Malformed]:
    places = form.places
    for line, record in records(path, form.dialect):
        if message := fault(record, form.dialect, places):
            yield Malformed(line=line, text=form.dialect.delimiter.join(record), message=message)
