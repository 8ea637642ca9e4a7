"""Judge a table's files and keep what is good, typed, as a DuckDB table on disk: memory does not grow with the rows.

The first offence in the order of the files is raised, as soon as its batch has been read; with quarantine all are listed and their rows
left out. A key that comes again with the same content (ingested_at aside) is one row sent twice: it is dropped and counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import tee
from typing import Any

from lodestar import schema
from lodestar.data import across, derive, offences
from lodestar.data.aside import Aside
from lodestar.data.rows import Judge
from lodestar.data.source import Source
from lodestar.errors import DataError, Place

IDENTICAL = "identical duplicate"
STORED = "already in the table"
SHOWN_OFFENDERS = 5


def _none() -> Iterable[DataError]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What became of a table's files; its good rows are in the DuckDB table `name`, numbered as in the files, one after the other.

    `columns` are those that some file has, `complete` those that all have; `offenders` are the first few places of each code. `bad` looks
    up all errors that were set aside, in the order of the files, as long as the database is open.
    """

    table: schema.Table
    columns: tuple[str, ...]
    complete: tuple[str, ...]
    rows_in: int
    dropped: dict[str, int]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    offenders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    bad: Callable[[], Iterable[DataError]] = field(default=_none, repr=False)

    @property
    def name(self) -> str:
        return checked_name(self.table)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """One source that was read, from `start` on to `end` in the numbering of all rows; `goes_on` past what is bad in it."""

    source: Source
    start: int
    end: int
    goes_on: bool


def checked_name(table: schema.Table) -> str:
    return f"checked_{table.name}"


def check(
    database: Any, table: schema.Table, sources: Sequence[Source], *, now_us: int, quarantine: bool = False, stored: str = ""
) -> Checked:
    """Fill `checked_…` from sources whose columns bear the contract's names; DataError at the first offence.

    With quarantine, and of what a collector has landed always, bad rows are set aside instead. `stored` is SQL of the rows that are in the
    table already, with times in µs: one that comes again is dropped and counted.
    """
    _check_columns(table, sources)
    columns = [column for column in table.columns if any(column.name in source.columns for source in sources)]
    names = tuple(column.name for column in columns)
    judge = Judge(database, table, columns, checked_name(table), now_us)
    aside = Aside(database, checked_name(table))
    reads = _read(judge, sources, aside, quarantine=quarantine)
    identical = across.duplicates(database, table, checked_name(table), names, aside)
    if table is schema.ITEM_CONTENT:
        aside.add(across.odd_embeddings(database, checked_name(table), names))
    if table is schema.RELATIONS:
        aside.add(across.circles(database, checked_name(table)))
    _raise_first(table, reads, aside)
    aside.remove()
    complete = tuple(name for name in names if all(name in source.columns for source in sources))
    if table is schema.EVENTS and schema.EVENT_ID not in complete:
        identical += aside.drop(derive.find_repeats(database, names, [read.start for read in reads]))
        aside.remove()
    again = 0
    if stored:
        again = across.stored_before(database, table, derive.completed(database, table, names, complete), stored, aside)
        _raise_first(table, reads, aside)
        aside.remove()
    return _accounted(table, reads, aside, _Kept(columns=names, complete=complete, judge=judge, identical=identical, again=again))


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What is known of a table when all is judged."""

    columns: tuple[str, ...]
    complete: tuple[str, ...]
    judge: Judge
    identical: int
    again: int


def _accounted(table: schema.Table, reads: Sequence[_Read], aside: Aside, kept: _Kept) -> Checked:
    """Every row that came in, kept or dropped by some rule; DataError E201 for events of which there is none."""
    sources = [read.source for read in reads]
    codes, offenders, malformed = _counted(_errors(table, reads, aside))
    if table is schema.EVENTS and not kept.judge.num_rows and not codes:
        raise DataError("E201", "the file has no rows", remedy="Give a file with a row per event.", place=Place(file=sources[0].file))
    dropped = Counter({IDENTICAL: kept.identical, STORED: kept.again}) + codes
    for source in sources:
        dropped += Counter(source.left_out)
    return Checked(
        table=table,
        columns=kept.columns,
        complete=kept.complete,
        rows_in=kept.judge.num_rows + malformed + sum(sum(source.left_out.values()) for source in sources),
        dropped=dict(sorted(dropped.items())),
        ignored=tuple(dict.fromkeys(name for source in sources for name in source.names if name not in source.columns)),
        notes=tuple(dict.fromkeys(note for source in sources for note in (*source.notes, *kept.judge.counts(source)))),
        offenders=offenders,
        bad=lambda: _errors(table, reads, aside),
    )


def _counted(errors: Iterable[DataError]) -> tuple[Counter[str], dict[str, tuple[str, ...]], int]:
    """How many errors of each code there are, where the first few lie, and how many are of lines that are no rows."""
    codes: Counter[str] = Counter()
    places: dict[str, tuple[str, ...]] = {}
    malformed = 0
    for error in errors:
        if codes[error.code] < SHOWN_OFFENDERS:
            places[error.code] = (*places.get(error.code, ()), str(error.place))
        codes[error.code] += 1
        malformed += error.place is not None and error.place.column is None
    return codes, places, malformed


def _raise_first(table: schema.Table, reads: Sequence[_Read], aside: Aside) -> None:
    strict = [read for read in reads if not read.goes_on]
    if strict and (first := next(_errors(table, strict, aside), None)):
        raise first


def _check_columns(table: schema.Table, sources: Sequence[Source]) -> None:
    """DataError E101 where a file lacks a column that nothing can stand for."""
    for source in sources:
        others = [name for name in source.names if name not in source.columns]
        for name in derive.needed(table, source.columns):
            if name not in source.columns:
                raise offences.missing_column(source.file, name, others)


def _read(judge: Judge, sources: Sequence[Source], aside: Aside, *, quarantine: bool) -> list[_Read]:
    """Read all batches, or until one has an offence that nothing sets aside."""
    reads: list[_Read] = []
    for source in sources:
        start, goes_on, has_bad = judge.num_rows, quarantine or source.is_landed, False
        for batch in source.batches():
            bad = judge.add(source, batch)
            aside.add(bad)
            has_bad = bool(bad)
            if has_bad and not goes_on:
                break
        reads.append(_Read(source=source, start=start, end=judge.num_rows, goes_on=goes_on))
        if not goes_on and (has_bad or any(True for _ in source.malformed())):
            break
    return reads


def _errors(table: schema.Table, reads: Sequence[_Read], aside: Aside) -> Iterator[DataError]:
    """The errors, in the order of the files and of their lines."""
    for read in reads:
        source = read.source
        rows, own = tee(aside.between(read.start, read.end))
        malformed = (
            (one.line, offences.malformed(one.code, one.message, Place(file=source.file, line=one.line, value=one.text)))
            for one in source.malformed()
        )
        lines = source.lines(bad.row - read.start for bad in rows) if read.end > read.start else ()
        judged = ((line, _error(table, source, bad.offence, line, bad.value)) for line, bad in zip(lines, own, strict=True))
        yield from (error for _, error in merge(malformed, judged, key=lambda pair: pair[0]))


def _error(table: schema.Table, source: Source, offence: str, line: int, value: str) -> DataError:
    code, _, column = offence.partition(":")
    return offences.bad_row(code, table, Place(file=source.file, line=line, column=column, value=value))
