"""Judge a source row by row and keep what is good, typed, as a DuckDB table that may be larger than memory.

The first offence in the order of the file is raised; with quarantine all are collected and their rows left out. A key that comes
again with the same content (ingested_at aside, which says when a row was delivered) is one row sent twice: it is dropped and counted.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.data import derive, offences
from lodestar.data.conversions import Conversion, conversion, epoch, quoted, texts
from lodestar.data.source import Source
from lodestar.errors import DataError, Place

RAW, ROW, OFFENCE = "raw", "row", "offence"
IDENTICAL = "identical duplicate"
LATEST_AFTER_US = 5 * 60 * 1_000_000
MALFORMED = "E107"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What became of one source; its good rows are in the DuckDB table `name`, numbered as in the file."""

    table: schema.Table
    columns: tuple[str, ...]
    rows_in: int
    dropped: dict[str, int]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bad: tuple[DataError, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        return checked_name(self.table)


def checked_name(table: schema.Table) -> str:
    return f"checked_{table.name}"


def check(database: Any, table: schema.Table, source: Source, *, now_us: int, quarantine: bool = False) -> Checked:
    """Fill `checked_…` from a source whose columns bear the contract's names; DataError at the first offence."""
    columns = _columns(table, source)
    if table is schema.EVENTS and not len(source.rows) and not source.malformed:
        raise DataError("E201", "the file has no rows", remedy="Give a file with a row per event.", place=Place(file=source.file))
    database.register(RAW, source.rows.append_column(ROW, pa.array(np.arange(len(source.rows)))))
    notes = _convert(database, table, source, columns, now_us)
    database.unregister(RAW)
    found = _offences(database, table)
    conflicting, identical = _duplicates(database, table, columns)
    found = sorted([*found, *((row, f"E120:{table.key[0]}") for row in conflicting)])
    bad = _errors(table, source, found, every=quarantine)
    if bad and not quarantine:
        raise bad[0]
    _remove(database, table, [*(row for row, _ in found), *identical])
    dropped = {**source.left_out, **({IDENTICAL: len(identical)} if identical else {})}
    for error in bad:
        dropped[error.code] = dropped.get(error.code, 0) + 1
    return Checked(
        table=table,
        columns=tuple(column.name for column in columns),
        rows_in=len(source.rows) + len(source.malformed) + sum(source.left_out.values()),
        dropped=dict(sorted(dropped.items())),
        ignored=tuple(name for name in source.names if name not in source.rows.column_names),
        notes=(*source.notes, *notes),
        bad=tuple(bad),
    )


def _columns(table: schema.Table, source: Source) -> list[schema.Column]:
    """The contract's columns that the file has; DataError E101 where one is missing that nothing can stand for."""
    present = source.rows.column_names
    others = [name for name in source.names if name not in present]
    for name in derive.needed(table, present):
        if name not in present:
            raise offences.missing_column(source.file, name, others)
    return [column for column in table.columns if column.name in present]


def _convert(database: Any, table: schema.Table, source: Source, columns: list[schema.Column], now_us: int) -> tuple[str, ...]:
    conversions: dict[str, Conversion] = {}
    notes = []
    for column in columns:
        kind = source.rows.schema.field(column.name).type
        counts = epoch(database, RAW, column, kind)
        conversions[column.name] = conversion(column, kind, counts, source.file)
        if counts is not None:
            notes.append(f"{column.name} counts {counts.name} since 1970")
    values = ", ".join(f"{found.value} AS {quoted(name)}" for name, found in conversions.items())
    faults = ", ".join(f"({found.fault}) || ':{name}' AS {quoted(name + '?')}" for name, found in conversions.items())
    verdicts = ", ".join([*(quoted(name + "?") for name in conversions), *_across(list(conversions), now_us)])
    database.execute(f"""
        CREATE OR REPLACE TABLE {checked_name(table)} AS
        SELECT {ROW}, {", ".join(map(quoted, conversions))}, coalesce({verdicts}) AS {OFFENCE}
        FROM (SELECT {ROW}, {values}, {faults} FROM {RAW})""")
    return tuple(notes)


def _across(names: Sequence[str], now_us: int) -> list[str]:
    """Codes that more than one column decides."""
    cases = []
    known = f"coalesce({quoted(schema.INGESTED_AT)}, {now_us})" if schema.INGESTED_AT in names else str(now_us)
    for name in (name for name in (schema.EVENT_TIME, schema.SHOWN_AT) if name in names):
        cases.append(f"CASE WHEN {quoted(name)} > {known} + {LATEST_AFTER_US} THEN 'E105:{name}' END")
    if schema.EVENT_TYPE in names:
        types = quoted(schema.EVENT_TYPE)
        cases.append(f"CASE WHEN {types} NOT IN ({texts(schema.EventType)}) THEN 'E110:{schema.EVENT_TYPE}' END")
        for needed in dict.fromkeys(name for group in schema.NEEDS.values() for name in group if name in names):
            having = [kind for kind, group in schema.NEEDS.items() if needed in group]
            code = "E103" if needed in {schema.ITEM_ID, schema.TARGET_USER_ID} else "E111"
            cases.append(f"CASE WHEN {types} IN ({texts(having)}) AND {quoted(needed)} IS NULL THEN '{code}:{needed}' END")
    return cases


def _offences(database: Any, table: schema.Table) -> list[tuple[int, str]]:
    query = f"SELECT {ROW}, {OFFENCE} FROM {checked_name(table)} WHERE {OFFENCE} IS NOT NULL ORDER BY {ROW}"
    return list(database.execute(query).fetchall())


def _duplicates(database: Any, table: schema.Table, columns: list[schema.Column]) -> tuple[list[int], list[int]]:
    """Rows whose key came before among good rows: with other content, and with the same."""
    names = [column.name for column in columns]
    if any(name not in names for name in table.key):
        return [], []
    key = ", ".join(map(quoted, table.key))
    content = [quoted(name) for name in names if name != schema.INGESTED_AT]
    same = " AND ".join(f"later.{name} IS NOT DISTINCT FROM first.{name}" for name in content)
    rows = database.execute(f"""
        WITH good AS (SELECT * FROM {checked_name(table)} WHERE {OFFENCE} IS NULL),
        repeated AS (SELECT {key}, min({ROW}) AS first_row FROM good GROUP BY {key} HAVING count(*) > 1)
        SELECT later.{ROW}, {same} FROM good AS later JOIN repeated USING ({key}) JOIN good AS first ON first.{ROW} = first_row
        WHERE later.{ROW} <> first_row ORDER BY later.{ROW}""").fetchall()
    return [row for row, is_same in rows if not is_same], [row for row, is_same in rows if is_same]


def _errors(table: schema.Table, source: Source, found: list[tuple[int, str]], *, every: bool) -> list[DataError]:
    """The errors in file order; all of them, or at least the first."""
    chosen = found if every else found[:1]
    errors = []
    for (row, offence), line in zip(chosen, source.lines([row for row, _ in chosen]) if chosen else [], strict=True):
        code, _, column = offence.partition(":")
        place = Place(file=source.file, line=line, column=column, value=_shown(source, column, row))
        errors.append(offences.bad_row(code, table, place))
    for malformed in source.malformed:
        place = Place(file=source.file, line=malformed.line, value=malformed.text)
        errors.append(DataError(MALFORMED, malformed.message, remedy="Repair the line." + offences.ASIDE, place=place))
    return sorted(errors, key=lambda error: (error.place.line if error.place else None) or 0)


def _shown(source: Source, column: str, row: int) -> str:
    values = source.rows[column]
    value = values.cast(pa.timestamp("us", tz="UTC"))[row].as_py() if pa.types.is_int64(values.type) else values[row].as_py()
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)


def _remove(database: Any, table: schema.Table, rows: list[int]) -> None:
    if not rows:
        return
    database.register("unwanted", pa.table({ROW: pa.array(rows, pa.int64())}))
    database.execute(f"DELETE FROM {checked_name(table)} WHERE {ROW} IN (SELECT {ROW} FROM unwanted)")
    database.unregister("unwanted")
