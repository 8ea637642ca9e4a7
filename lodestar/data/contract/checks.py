"""Input validation of a table's files: good rows become a typed DuckDB table on disk, so memory does not grow with the rows.

All problems come in one answer: the first row error of each kind in the order of the files, with the number of its rows. With quarantine
all are listed and their rows dropped. A repeated key with the same content (except ingested_at) is a duplicate: it is dropped and counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import tee
from typing import Any

from lodestar import schema
from lodestar.data.contract import defaults, row_errors, rules, table_checks
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.findings import findings, problems
from lodestar.data.contract.findings.findings import Finding
from lodestar.data.contract.quarantine import Quarantine
from lodestar.data.contract.row_validator import SHOWN, RowValidator, parse_fault
from lodestar.data.readers.source import Source
from lodestar.errors import DataError, Location, together

IDENTICAL = "identical duplicate"
STORED = "already in the table"


def _no_errors() -> Iterable[DataError]:
    return ()


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """A file of a validated table: its rows have the numbers start <= number < end; `columns` are those of the contract."""

    file: str
    start: int
    end: int
    columns: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CheckedTable:
    """Result of validating a table's files; its good rows are in the DuckDB table `checked_name(table)`.

    `columns` are those that some file has, `complete` those that every row has; `offenders` lists the first few locations of each error
    code. `bad` yields all quarantined row errors in the order of the files, as long as the database is open.
    """

    table: schema.Table
    columns: tuple[str, ...]
    complete: tuple[str, ...]
    rows_in: int
    dropped: dict[str, int]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    offenders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    files: tuple[CheckedFile, ...] = ()
    bad: Callable[[], Iterable[DataError]] = field(default=_no_errors, repr=False)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A source that was read: its rows have the numbers start <= number < end; `is_lenient`: its bad rows are quarantined, not raised.

    `counts` is the number of its rows with each fault.
    """

    source: Source
    start: int
    end: int
    is_lenient: bool
    counts: Counter[str]


def check(
    database: Any, table: schema.Table, sources: Sequence[Source], *, now_us: int, quarantine: bool = False, stored: str = ""
) -> CheckedTable:
    """Validate a table's sources, which have the contract's column names, into `checked_…`; DataErrors of all that is wrong with them.

    With quarantine, and always for a collector's parts, bad rows are quarantined instead. `stored` is SQL of the rows that the table has
    already, with times in µs: a row whose key is stored is dropped and counted (E120 where its content differs). `now_us` is UTC µs.
    DataError E101 for a missing column, E201 for events without a row.
    """
    errors = _missing_columns(table, sources)
    columns = [column for column in table.columns if any(column.name in source.columns for source in sources)]
    if not columns:
        raise together(errors)
    names = tuple(column.name for column in columns)
    checked = defaults.checked_name(table)
    validator = RowValidator(database, table, columns, checked, now_us)
    bad_rows = Quarantine(database, checked)
    reads = _read(validator, sources, bad_rows, errors, quarantine=quarantine)
    num_duplicates = table_checks.duplicates(database, table, checked, names, bad_rows)
    if table is schema.ITEM_CONTENT:
        bad_rows.add(table_checks.embedding_length_mismatches(database, checked, names))
    if table is schema.RELATIONS:
        bad_rows.add(table_checks.cycles(database, checked))
    _raise(table, reads, bad_rows, errors)
    bad_rows.remove()
    validator.finish()
    everywhere = [name for name in names if all(name in source.columns for source in sources)]
    complete = tuple(name for name in everywhere if not _has_blank(database, table, name))
    if table is schema.EVENTS and schema.EVENT_ID not in complete:
        num_duplicates += bad_rows.drop(defaults.find_repeats(database, names, [read.start for read in reads]))
        bad_rows.remove()
    num_stored = 0
    if stored:
        num_stored = table_checks.already_stored(
            database, table, defaults.completed_sql(database, table, names, complete), stored, bad_rows
        )
        _raise(table, reads, bad_rows, [])
        bad_rows.remove()
    return _account(
        table,
        reads,
        bad_rows,
        _Kept(columns=names, complete=complete, validator=validator, num_duplicates=num_duplicates, num_stored=num_stored),
    )


def _has_blank(database: Any, table: schema.Table, name: str) -> bool:
    """Whether some row has no value in a column that is then derived."""
    if name not in rules.DERIVED[table.name]:
        return False
    query = f"SELECT 1 FROM {defaults.checked_name(table)} WHERE {quoted(name)} IS NULL LIMIT 1"
    return database.execute(query).fetchone() is not None


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Columns, validator and counts of duplicates of a table after all checks."""

    columns: tuple[str, ...]
    complete: tuple[str, ...]
    validator: RowValidator
    num_duplicates: int
    num_stored: int


def _account(table: schema.Table, reads: Sequence[_Read], bad_rows: Quarantine, kept: _Kept) -> CheckedTable:
    """Account for every row in as kept or dropped; DataError E201 for events without a row."""
    sources = [read.source for read in reads]
    codes, offenders, malformed = _count_errors(_errors(table, reads, bad_rows))
    if table is schema.EVENTS and not kept.validator.num_rows and not codes:
        raise DataError("E201", "the file has no rows", remedy="Give a file with a row per event.", place=Location(file=sources[0].file))
    dropped = Counter({IDENTICAL: kept.num_duplicates, STORED: kept.num_stored}) + codes
    for source in sources:
        dropped += Counter(source.skipped_rows)
    return CheckedTable(
        table=table,
        columns=kept.columns,
        complete=kept.complete,
        rows_in=kept.validator.num_rows + malformed + sum(sum(source.skipped_rows.values()) for source in sources),
        dropped=dict(sorted(dropped.items())),
        ignored=tuple(dict.fromkeys(name for source in sources for name in source.names if name not in source.columns)),
        notes=tuple(dict.fromkeys(note for source in sources for note in (*source.notes, *kept.validator.notes(source)))),
        offenders=offenders,
        findings=tuple(findings.of_cells(table, sources, {read.source.file: read.start for read in reads}, kept.validator.cells)),
        files=tuple(CheckedFile(file=read.source.file, start=read.start, end=read.end, columns=read.source.columns) for read in reads),
        bad=lambda: _errors(table, reads, bad_rows),
    )


def _count_errors(errors: Iterable[DataError]) -> tuple[Counter[str], dict[str, tuple[str, ...]], int]:
    """Number of errors by code, the first few locations by code, and the number of malformed lines."""
    codes: Counter[str] = Counter()
    places: dict[str, tuple[str, ...]] = {}
    malformed = 0
    for error in errors:
        if codes[error.code] < SHOWN:
            places[error.code] = (*places.get(error.code, ()), str(error.place))
        codes[error.code] += 1
        malformed += error.place is not None and error.place.column is None
    return codes, places, malformed


def _raise(table: schema.Table, reads: Sequence[_Read], bad_rows: Quarantine, errors: Sequence[DataError]) -> None:
    """Raise all errors of the files as a whole, and the first row error of each kind of those that are not quarantined."""
    strict = [read for read in reads if not read.is_lenient]
    found = problems.kinds(table, _errors(table, strict, bad_rows), sum((read.counts for read in strict), Counter())) if strict else []
    if errors or found:
        raise together([*errors, *found])


def _missing_columns(table: schema.Table, sources: Sequence[Source]) -> list[DataError]:
    """E101 for each required column that files lack and that cannot be derived, with the first file that lacks it."""
    found: dict[str, DataError] = {}
    for source in sources:
        unread = [name for name in source.names if name not in source.columns]
        for name in defaults.required_columns(table, source.columns):
            if name not in source.columns:
                found.setdefault(name, row_errors.missing_column(source.file, name, source.names, unread, table))
    return list(found.values())


def _read(
    validator: RowValidator, sources: Sequence[Source], bad_rows: Quarantine, errors: list[DataError], *, quarantine: bool
) -> list[_Read]:
    """Validate all batches; a file that cannot be read on is added to `errors`."""
    reads: list[_Read] = []
    for source in sources:
        start, is_lenient, counts = validator.num_rows, quarantine or source.is_landed, Counter[str]()
        try:
            for batch in source.batches():
                if found := validator.add(source, batch):
                    counts.update(found)
                    bad_rows.add(validator.bad_rows(batch, is_lenient=is_lenient))
        except DataError as error:
            errors.append(error)
            continue
        reads.append(_Read(source=source, start=start, end=validator.num_rows, is_lenient=is_lenient, counts=counts))
    return reads


def _errors(table: schema.Table, reads: Sequence[_Read], bad_rows: Quarantine) -> Iterator[DataError]:
    """Malformed lines and row errors, merged in the order of the files and of their lines."""
    for read in reads:
        source = read.source
        rows, own = tee(bad_rows.between(read.start, read.end))
        malformed = (
            (one.line, row_errors.malformed(one.code, one.message, Location(file=source.file, line=one.line, value=one.text)))
            for one in source.malformed()
        )
        lines = source.lines(bad.row - read.start for bad in rows) if read.end > read.start else ()
        row_errors_by_line = ((line, _error(table, source, bad.error, line, bad.value)) for line, bad in zip(lines, own, strict=True))
        yield from (error for _, error in merge(malformed, row_errors_by_line, key=lambda pair: pair[0]))


def _error(table: schema.Table, source: Source, error: str, line: int, value: str) -> DataError:
    fault = parse_fault(error)
    return row_errors.bad_row(fault.code, table, Location(file=source.file, line=line, column=fault.column, value=value), source.cells)
