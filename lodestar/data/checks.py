"""Judge a table's files and keep what is good, typed, as a DuckDB table on disk: memory does not grow with the rows.

The first offence in the order of the files is raised, as soon as its batch has been read; with quarantine all are listed and their rows
left out. A key that comes again with the same content (ingested_at aside) is one row sent twice: it is dropped and counted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data import across, derive, offences
from lodestar.data.across import Bad
from lodestar.data.rows import ROW, Judge
from lodestar.data.source import Source
from lodestar.errors import DataError, Place

IDENTICAL = "identical duplicate"
STORED = "already in the table"
MALFORMED = "E107"
SHOWN_OFFENDERS = 5


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What became of a table's files; its good rows are in the DuckDB table `name`, numbered as in the files, one after the other.

    `columns` are those that some file has, `complete` those that all have; `offenders` are the first few places of each code, `bad` all
    errors where they were set aside.
    """

    table: schema.Table
    columns: tuple[str, ...]
    complete: tuple[str, ...]
    rows_in: int
    dropped: dict[str, int]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    offenders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    bad: tuple[DataError, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return checked_name(self.table)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """One source that was read, from `start` on to `end` in the numbering of all rows."""

    source: Source
    start: int
    end: int


def checked_name(table: schema.Table) -> str:
    return f"checked_{table.name}"


def check(
    database: Any, table: schema.Table, sources: Sequence[Source], *, now_us: int, quarantine: bool = False, stored: str = ""
) -> Checked:
    """Fill `checked_…` from sources whose columns bear the contract's names; DataError at the first offence.

    `stored` is SQL of the rows that are in the table already, with times in µs: one that comes again is dropped and counted.
    """
    _check_columns(table, sources)
    columns = [column for column in table.columns if any(column.name in source.columns for source in sources)]
    names = tuple(column.name for column in columns)
    judge = Judge(database, table, columns, checked_name(table), now_us)
    reads, bad = _read(judge, sources, stop=not quarantine)
    conflicts, identical = across.duplicates(database, table, checked_name(table), names)
    bad += conflicts
    if table is schema.ITEM_CONTENT:
        bad += across.odd_embeddings(database, checked_name(table), names)
    if table is schema.RELATIONS:
        bad += across.circles(database, checked_name(table))
    bad = list({row: (row, offence, value) for row, offence, value in reversed(bad)}.values())  # the first offence of each row
    _raise_first(table, reads, bad, quarantine=quarantine)
    _remove(database, table, [*(row for row, _, _ in bad), *identical])
    complete = tuple(name for name in names if all(name in source.columns for source in sources))
    if table is schema.EVENTS and schema.EVENT_ID not in complete:
        copies = derive.find_repeats(database, names, [read.start for read in reads])
        _remove(database, table, copies)
        identical += copies
    again: list[int] = []
    if stored:
        conflicts, again = across.stored_before(database, table, derive.completed(database, table, names, complete), stored)
        bad += conflicts
        _raise_first(table, reads, conflicts, quarantine=quarantine)
        _remove(database, table, [*(row for row, _, _ in conflicts), *again])
    aside = tuple(_errors(table, reads, bad))
    if table is schema.EVENTS and not judge.num_rows and not aside:
        raise DataError("E201", "the file has no rows", remedy="Give a file with a row per event.", place=Place(file=sources[0].file))
    dropped = Counter({IDENTICAL: len(identical), STORED: len(again)}) + Counter(error.code for error in aside)
    for source in sources:
        dropped += Counter(source.left_out)
    malformed = sum(error.place is not None and error.place.column is None for error in aside)
    return Checked(
        table=table,
        columns=names,
        complete=complete,
        rows_in=judge.num_rows + malformed + sum(sum(source.left_out.values()) for source in sources),
        dropped=dict(sorted(dropped.items())),
        ignored=tuple(dict.fromkeys(name for source in sources for name in source.names if name not in source.columns)),
        notes=tuple(dict.fromkeys(note for read in reads for note in (*read.source.notes, *judge.counts(read.source)))),
        offenders=_first_of_each(aside),
        bad=aside,
    )


def _raise_first(table: schema.Table, reads: "Sequence[_Read]", bad: Sequence[Bad], *, quarantine: bool) -> None:
    if not quarantine and (first := next(_errors(table, reads, bad), None)):
        raise first


def _remove(database: Any, table: schema.Table, rows: Sequence[int]) -> None:
    """Take rows out of `checked_…`, by their numbers."""
    if rows:
        database.register("unwanted", pa.table({ROW: pa.array(rows, pa.int64())}))
        database.execute(f"DELETE FROM {checked_name(table)} WHERE {ROW} IN (SELECT {ROW} FROM unwanted)")
        database.unregister("unwanted")


def _check_columns(table: schema.Table, sources: Sequence[Source]) -> None:
    """DataError E101 where a file lacks a column that nothing can stand for."""
    for source in sources:
        others = [name for name in source.names if name not in source.columns]
        for name in derive.needed(table, source.columns):
            if name not in source.columns:
                raise offences.missing_column(source.file, name, others)


def _read(judge: Judge, sources: Sequence[Source], *, stop: bool) -> tuple[list[_Read], list[Bad]]:
    """Read all batches, or until one has an offence."""
    reads: list[_Read] = []
    bad: list[Bad] = []
    for source in sources:
        start = judge.num_rows
        for batch in source.batches():
            bad += judge.add(source, batch)
            if stop and bad:
                break
        reads.append(_Read(source=source, start=start, end=judge.num_rows))
        if stop and (bad or any(True for _ in source.malformed())):
            break
    return reads, bad


def _errors(table: schema.Table, reads: Sequence[_Read], bad: Sequence[Bad]) -> Iterator[DataError]:
    """The errors, in the order of the files and of their lines."""
    for read in reads:
        source = read.source
        own = sorted((row - read.start, offence, value) for row, offence, value in bad if read.start <= row < read.end)
        malformed = (
            (one.line, DataError(MALFORMED, one.message, remedy="Repair the line." + offences.ASIDE, place=place))
            for one in source.malformed()
            for place in (Place(file=source.file, line=one.line, value=one.text),)
        )
        lines = source.lines([row for row, _, _ in own]) if own else []
        judged = ((line, _error(table, source, offence, line, value)) for line, (_, offence, value) in zip(lines, own, strict=True))
        yield from (error for _, error in merge(malformed, judged, key=lambda pair: pair[0]))


def _error(table: schema.Table, source: Source, offence: str, line: int, value: str) -> DataError:
    code, _, column = offence.partition(":")
    return offences.bad_row(code, table, Place(file=source.file, line=line, column=column, value=value))


def _first_of_each(errors: Sequence[DataError]) -> dict[str, tuple[str, ...]]:
    """Where the first few bad rows of each code lie."""
    found: dict[str, tuple[str, ...]] = {}
    for error in errors:
        if len(found.get(error.code, ())) < SHOWN_OFFENDERS:
            found[error.code] = (*found.get(error.code, ()), str(error.place))
    return found
