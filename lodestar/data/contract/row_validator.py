"""Row validator: converts a batch to typed rows of the contract, each with the code and column of its first row error.

A cell that cannot be read is a row error where its row needs it; elsewhere it is null and counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.contract import row_checks, rules
from lodestar.data.contract.cells import times, traits
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.cells.texts import Cells, null_texts, read_texts
from lodestar.data.contract.cells.times import TimeForm
from lodestar.data.contract.conversions import Conversion, conversion, prepare
from lodestar.data.contract.defaults import SQL_TYPES
from lodestar.data.contract.quarantine import ERROR, ROW, SHOWN_CHARACTERS, BadRow
from lodestar.data.contract.rules import ColumnRule
from lodestar.data.readers.source import Source
from lodestar.errors import DataError

RAW = "raw"
CELLS = "cells"  # codes of a row's cells that were read as null, or changed
SEPARATOR = "\x1f"
INEXACT = "!"  # suffix of a column's name: whether a float may stand for several written numbers
SHOWN = 5
MOST_FAULTS = 200
MINUS_ONE_ID = "-1"


class Fault(NamedTuple):
    """What is wrong with a cell: the code, the column, and the text where it stands for null; written `E103,none:user_id`."""

    code: str
    column: str
    text: str = ""


def parse_fault(written: str) -> Fault:
    """A fault from its written form."""
    head, _, column = written.rpartition(":")
    code, _, text = head.partition(",")
    return Fault(code, column, text)


@dataclass(kw_only=True)
class Found:
    """How often a fault was found in a source, and the first few rows with it."""

    count: int = 0
    first: tuple[BadRow, ...] = ()


class RowValidator:
    """Validates rows into `checked`, a DuckDB table of `columns`, one source after the other; rows are numbered across sources.

    `cells` counts, by the number of the source and the fault, cells of good rows that were read as null or changed.
    """

    def __init__(self, database: Any, table: schema.Table, columns: Sequence[schema.Column], checked: str, now_us: int) -> None:
        self._database, self._table, self._columns, self._checked, self._now_us = database, table, tuple(columns), checked, now_us
        self._rules = {rule.name: rule for rule in rules.RULES[table.name].columns}
        self._forms: dict[tuple[str, str], TimeForm] = {}
        self.num_rows = self._first = 0
        self.cells: dict[tuple[str, str], Found] = {}
        types = ", ".join(f"{quoted(column.name)} {SQL_TYPES[column.kind]}" for column in columns)
        database.execute(f"CREATE OR REPLACE TABLE {checked} ({ROW} BIGINT, {types}, {ERROR} VARCHAR, {CELLS} VARCHAR)")

    def add(self, source: Source, batch: "pa.Table") -> dict[str, int]:
        """Insert a batch of a source into the table; returns how many rows have each error, by its written form."""
        self._first = self.num_rows
        present = [column for column in self._columns if column.name in source.columns]
        rows = pa.table({column.name: self._prepared(column, source, batch) for column in present})
        inexact = {column.name: flags for column in present if (flags := _inexact(column, source, batch[column.name])) is not None}
        for name, flags in inexact.items():
            rows = rows.append_column(name + INEXACT, pa.array(flags))
        self.num_rows += len(batch)
        rows = rows.append_column(ROW, pa.array(np.arange(self._first, self.num_rows)))
        rows = rows.combine_chunks()  # of several chunks, DuckDB's threads insert the one that is done first
        self._database.register(RAW, rows)
        self._database.execute(self._insert_sql(source, present, rows))
        self._database.unregister(RAW)
        self._count_cells(source, batch)
        query = f"""
            SELECT {ERROR}, count(*) FROM {self._checked} WHERE {ROW} >= {self._first} AND {ERROR} IS NOT NULL
            GROUP BY {ERROR} ORDER BY 2 DESC, 1"""
        return _bounded(dict(self._database.execute(query).fetchall()))

    def _prepared(self, column: schema.Column, source: Source, batch: "pa.Table") -> "pa.ChunkedArray":
        """A column of a batch; null and counted where its type cannot be read and no row needs it."""
        values = batch[column.name]
        try:
            return prepare(column, values, source.file)
        except DataError as error:
            if _stops(_rule_for(self._rules[column.name], source.columns, source)):
                raise
            rows = np.flatnonzero(values.is_valid().to_numpy())
            self._count(source, f"{error.code}:{column.name}", len(rows), batch, (rows[:SHOWN] + self.num_rows).tolist())
            return pa.chunked_array([pa.nulls(len(batch), pa.string())])

    def bad_rows(self, batch: "pa.Table", *, is_lenient: bool) -> list[BadRow]:
        """Number, row error and value of the bad rows of the batch that was added last, ascending.

        All of them if they are set aside, else the first few of each error, and all that are always left out.
        """
        kind = f"left({ERROR}, {len(rules.NO_RATING)}), split_part({ERROR}, ':', -1)"
        few = f"{ERROR} LIKE '{rules.NO_RATING}%' OR row_number() OVER (PARTITION BY {kind} ORDER BY {ROW}) <= {SHOWN}"
        limit = "" if is_lenient else f"QUALIFY {few}"
        query = f"SELECT {ROW}, {ERROR} FROM {self._checked} WHERE {ROW} >= {self._first} AND {ERROR} IS NOT NULL {limit} ORDER BY {ROW}"
        found = self._database.execute(query).fetchall()
        return [BadRow(row, error, _value_text(batch, parse_fault(error).column, row - self._first)) for row, error in found]

    def finish(self) -> None:
        """Drop what the table needs only while rows are added."""
        self._database.execute(f"ALTER TABLE {self._checked} DROP COLUMN {CELLS}")

    def notes(self, source: Source) -> list[str]:
        """Notes on the forms of the source's times, one per column."""
        found = [(name, form) for (file, name), form in self._forms.items() if file == source.file]
        units = [f"{name} counts {form.epoch.name} since 1970" for name, form in found if form.epoch]
        return units + [times.dates_note(name) for name, form in found if form.has_dates_only]

    def _count_cells(self, source: Source, batch: "pa.Table") -> None:
        found = self._database.execute(f"""
            SELECT fault, count(*), min({ROW}, {SHOWN}) FROM (
                SELECT {ROW}, unnest(string_split({CELLS}, '{SEPARATOR}')) AS fault FROM {self._checked}
                WHERE {ROW} >= {self._first} AND {CELLS} IS NOT NULL AND {ERROR} IS NULL)
            GROUP BY fault ORDER BY fault""").fetchall()
        for fault, count, numbers in found:
            self._count(source, fault, count, batch, numbers)

    def _count(self, source: Source, fault: str, count: int, batch: "pa.Table", numbers: Sequence[int]) -> None:
        """Count cells with a fault, of which `numbers` are the first rows."""
        if not count:
            return
        kept, column = self.cells.setdefault((source.file, fault), Found()), parse_fault(fault).column
        kept.count += count
        texts = [_value_text(batch, column, row - self._first)[:SHOWN_CHARACTERS] for row in numbers]
        kept.first = (*kept.first, *(BadRow(row, fault, text) for row, text in zip(numbers, texts, strict=True)))[:SHOWN]

    def _insert_sql(self, source: Source, present: Sequence[schema.Column], rows: "pa.Table") -> str:
        """SQL that inserts the converted batch with the first row error of each row: of its columns in order, then across columns."""
        names = [column.name for column in present]
        own = {name: _rule_for(self._rules[name], names, source) for name in names}
        cells = {name: self._cells(source, own[name], rows) for name in names}
        found = {name: self._conversion(own[name], cells[name], rows) for name in names}
        values = "".join(f", {_typed(one.value, self._table.column(name))} AS {quoted(name)}" for name, one in found.items())
        faults = "".join(f", ({one.fault}) || ':{name}' AS {quoted(name + '?')}" for name, one in found.items() if one.fault != "NULL")
        notes = [f"({one.note}) || ':{name}'" for name, one in found.items() if one.note != "NULL"]
        faulty = [name for name, one in found.items() if one.fault != "NULL"]
        needed = [name for name in faulty if _stops(own[name])]
        optional = [name for name in faulty if not _stops(own[name])]
        nulled = ", ".join(f"CASE WHEN {quoted(name + '?')} IS NULL THEN {quoted(name)} END AS {quoted(name)}" for name in optional)
        checks = row_checks.faults(self._table, names, faulty, is_landed=source.is_landed, now_us=self._now_us)
        errors = ", ".join([*(quoted(name + "?") for name in needed), *checks, "NULL"])
        changes = [*(quoted(name + "?") for name in optional), *(["notes"] if notes else [])]
        selected = "".join(f", {quoted(name)}" for name in names)
        return f"""
            INSERT INTO {self._checked} ({ROW}{selected}, {ERROR}, {CELLS})
            SELECT {ROW}{selected}, coalesce({errors}), {_joined(changes)}
            FROM (SELECT *{f" REPLACE ({nulled})" if nulled else ""}
                FROM (SELECT {ROW}{values}{faults}{f", {_joined(notes)} AS notes" if notes else ""} FROM ({_texts_sql(own, cells)})))"""

    def _cells(self, source: Source, rule: ColumnRule, rows: "pa.Table") -> Cells:
        """What a batch has in a column; the form of times is that of the first batch with a value."""
        kind, options = rows.schema.field(rule.name).type, source.cells
        most_bytes = rules.MAX_SENT_BYTES if source.is_landed else rules.MAX_VALUE_BYTES
        cells = Cells(kind=kind, most_bytes=most_bytes, latest_us=self._now_us + rules.MAX_CLOCK_SKEW_US, options=options)
        if not pa.types.is_string(kind):
            return cells
        sought = [*null_texts(rule, options), MINUS_ONE_ID]
        cells = replace(cells, traits=traits.find(rows[rule.name], pa.array(sought)))
        return replace(cells, form=self._form(source, rule, cells)) if rule.kind is schema.Kind.TIME else cells

    def _conversion(self, rule: ColumnRule, cells: Cells, rows: "pa.Table") -> Conversion:
        found = conversion(rule, cells)
        if rule.name + INEXACT not in rows.column_names:
            return found
        return replace(found, fault=f"CASE WHEN {quoted(rule.name + INEXACT)} THEN '{rules.WRONG_TYPE}' ELSE ({found.fault}) END")

    def _form(self, source: Source, rule: ColumnRule, cells: Cells) -> TimeForm:
        """The form of a column's times, decided by the first batch with a value and kept for the whole file."""
        key = (source.file, rule.name)
        if key not in self._forms and cells.traits.has_text:
            read = _texts_sql({rule.name: rule}, {rule.name: cells})
            found = times.find_form(self._database, f"({read})", quoted(rule.name), is_landed=source.is_landed)
            if found is not None:
                self._forms[key] = found
        return self._forms.get(key, times.ISO)


def _texts_sql(own: Mapping[str, ColumnRule], cells: Mapping[str, Cells]) -> str:
    """SQL of the batch with its columns of text read."""
    columns = {
        name: (rule, cells[name]) for name, rule in own.items() if pa.types.is_string(cells[name].kind) and cells[name].traits.has_text
    }
    return read_texts(columns, RAW)


def _bounded(counts: dict[str, int]) -> dict[str, int]:
    """The counts of the most frequent faults by themselves, those of further ones without their text: there may be one for each row."""
    found = dict(list(counts.items())[:MOST_FAULTS])
    for written, count in list(counts.items())[MOST_FAULTS:]:
        fault = parse_fault(written)
        plain = f"{fault.code}:{fault.column}"
        found[plain] = found.get(plain, 0) + count
    return found


def _typed(value: str, column: schema.Column) -> str:
    return f"NULL::{SQL_TYPES[column.kind]}" if value == "NULL" else value


def _joined(faults: Sequence[str]) -> str:
    """SQL of faults as one text, NULL where a row has none, as nearly all have."""
    if not faults:
        return "NULL"
    return f"CASE WHEN coalesce({', '.join(faults)}) IS NOT NULL THEN concat_ws('{SEPARATOR}', {', '.join(faults)}) END"


def _inexact(column: schema.Column, source: Source, values: "pa.ChunkedArray") -> NDArray[np.bool_] | None:
    """Flags of floats in an id, text or integer column that may stand for several written numbers, [rows]; None without any."""
    if column.kind not in {schema.Kind.ID, schema.Kind.TEXT, schema.Kind.INT}:
        return None
    flags = np.zeros(len(values), np.bool_)
    flags[list(source.inexact(column.name))] = True
    if pa.types.is_floating(values.type):
        flags |= np.abs(values.cast(pa.float64()).fill_null(0).to_numpy()) >= rules.NOT_EXACT
    return flags if flags.any() else None


def _rule_for(rule: ColumnRule, names: Sequence[str], source: Source) -> ColumnRule:
    """The rule of a column in a source with these columns, and with what is declared of its cells."""
    low, high = source.cells.rating_scale if rule.name == schema.RATING else (rule.low, rule.high)
    choices = (*rules.ARMS, *source.cells.arms) if rule.name == schema.ARM and not source.is_landed else rule.choices
    missing = rules.missing_code(rule, names, is_landed=source.is_landed)
    return replace(rule, low=low, high=high, choices=choices, missing=missing)


def _stops(rule: ColumnRule) -> bool:
    """Whether a cell that cannot be read is a row error."""
    return bool(rule.missing) or rule.is_strict


def _value_text(batch: "pa.Table", column: str, row: int) -> str:
    """The value in the file as text, empty where there is none."""
    value = batch[column][row].as_py() if column in batch.column_names else None
    return value if isinstance(value, str) else "" if value is None else str(value)
