"""Netflix Prize reader: ratings in lines below the number of their film, and titles with commas that are not quoted.

Bennett & Lanning, "The Netflix Prize", KDD Cup and Workshop 2007. A film's number is a heading such as `17:` for the lines below it,
CustomerID,Rating,Date, which a row by itself does not know.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.dataset import DataSet, Open, constant, single_file
from lodestar.data.readers import decompression
from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Malformed, Source, check_text, single_batch

RATINGS = ("combined_data_*.txt", "combined_data_*.txt.gz", "training_set/mv_*.txt")
TITLES = ("movie_titles.csv", "movie_titles.txt")
HEADING = re.compile(rb"\s*\d+:\r?\n")
RATING = r"^(?P<user>[^,]+),(?P<rating>[^,]*),(?P<day>[^,]*)$"
FILM = r"^(?P<id>[^,]+),(?P<year>[^,]*),(?P<title>.*)$"
MIDNIGHT = "T00:00:00Z"
DAYS = "times are days: of the order within a day nothing is known"
COLUMNS = (schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME, schema.RATING)


def find(folder: Path) -> DataSet | None:
    """The Netflix Prize in a folder of its ratings, None where it is not there."""
    files = next((found for pattern in RATINGS if (found := sorted(folder.glob(pattern)))), [])
    if not files or not all(map(_begins_with_heading, files[:3])):
        return None
    tables: dict[str, Open] = {schema.EVENTS.name: lambda: [_ratings(path) for path in files]}
    titles = next((folder / name for name in TITLES if (folder / name).is_file()), None)
    if titles:
        tables[schema.ITEMS.name] = single_file(_films, titles)
    return DataSet(tables=tables, paths=(*files, *([titles] if titles else [])))


def _begins_with_heading(path: Path) -> bool:
    with decompression.open_decompressed(path) as content:
        return HEADING.match(content.read(64)) is not None


@dataclass(kw_only=True)
class _Reading:
    """What a pass over a file found: rows from which on the line number is the row number and a shift, and malformed lines."""

    starts: list[NDArray[np.int64]] = field(default_factory=list)
    shifts: list[NDArray[np.int64]] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)

    def lines(self, rows: Iterable[int]) -> Iterator[int]:
        """The line number of each row."""
        starts, shifts = np.concatenate(self.starts), np.concatenate(self.shifts)
        return (row + int(shifts[np.searchsorted(starts, row, side="right") - 1]) for row in rows)


def _ratings(path: Path) -> Source:
    """Rating events of a file, whose films stand in headings."""
    check_text(path)
    reading = _Reading()
    return Source(
        file=path.name,
        names=COLUMNS,
        columns=COLUMNS,
        batches=partial(_batches, path, reading),
        lines=reading.lines,
        malformed=lambda: tuple(reading.malformed),
        notes=(DAYS,),
    )


def _batches(path: Path, reading: _Reading) -> "Iterator[pa.Table]":
    reading.starts, reading.shifts, reading.malformed = [], [], []
    film, rows, number = "", 0, 1
    for lines in _line_blocks(path):
        is_heading = pc.match_substring_regex(lines, r"^\d+:$")
        films = pc.fill_null_forward(pc.if_else(is_heading, pc.utf8_rtrim(lines, ":"), pa.scalar(None, pa.string()))).fill_null(film)
        found = pc.extract_regex(lines, RATING)
        is_row = found.is_valid()
        bad = pc.invert(pc.or_(pc.or_(is_row, is_heading), pc.equal(lines, "")))
        for place in np.flatnonzero(bad.to_numpy(zero_copy_only=False)).tolist():
            message = "the line is neither a film's number nor CustomerID,Rating,Date"
            reading.malformed.append(Malformed(line=number + place, text=lines[place].as_py(), message=message))
        places = np.flatnonzero(is_row.to_numpy(zero_copy_only=False))
        shift = places + number - np.arange(rows, rows + len(places))
        changed = np.flatnonzero(np.diff(shift, prepend=-1))
        reading.starts.append(changed + rows)
        reading.shifts.append(shift[changed])
        film, rows, number = films[-1].as_py(), rows + len(places), number + len(lines)
        yield _table(found.filter(is_row), films.filter(is_row))


def _table(found: "pa.StructArray", films: "pa.Array") -> "pa.Table":
    """Rows of the contract's columns."""
    day = pc.struct_field(found, "day")
    columns = (
        pc.struct_field(found, "user"),
        films,
        constant(schema.EventType.RATING, len(found)),
        pc.binary_join_element_wise(day, MIDNIGHT, ""),
        pc.struct_field(found, "rating"),
    )
    return pa.table(dict(zip(COLUMNS, columns, strict=True)))


def _line_blocks(path: Path) -> "Iterator[pa.StringArray]":
    """The lines of a file in blocks, without their ends."""
    rest = b""
    for chunk in decompression.read_chunks(path):
        text, newline, rest = (rest + chunk).rpartition(b"\n")
        if newline:
            yield pc.utf8_rtrim_whitespace(pa.array(text.split(b"\n")).cast(pa.string()))
    if rest:
        yield pc.utf8_rtrim_whitespace(pa.array([rest]).cast(pa.string()))


def _films(path: Path) -> Source:
    """Items: number, year and title of each film; the title is the rest of its line."""
    source = read(path, {"line"}, ReadOptions(format="csv", columns=("line",), delimiter="\t", quoting="none", encoding="latin1"))
    found = pc.extract_regex(source.read()["line"].combine_chunks(), FILM)
    number, year, title = (pc.struct_field(found, name) for name in ("id", "year", "title"))
    attributes = pc.if_else(pc.equal(year, "NULL"), "{}", pc.binary_join_element_wise('{"year": "', year, '"}', ""))
    columns = {
        schema.ITEM_ID: number,
        schema.TITLE: title,
        schema.ITEM_TYPE: constant("video", len(found)),
        schema.ATTRS: attributes,
    }
    names = tuple(columns)
    return Source(file=path.name, names=names, columns=names, batches=single_batch(pa.table(columns)), lines=source.lines)
