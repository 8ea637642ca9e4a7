"""Row validator: converts a batch to typed rows of the contract, each with the code and column of its first row error."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.conversions import Conversion, conversion, epoch, prepare, quoted, texts
from lodestar.data.contract.defaults import SQL_TYPES
from lodestar.data.contract.quarantine import ERROR, ROW, BadRow
from lodestar.data.contract.rules import AnyOf, ColumnRule, Epoch, KnownType, LengthIs, NotInFuture, RequiredColumn, RowRule
from lodestar.data.readers.source import Source

RAW = "raw"
INEXACT = "!"  # suffix of a column's name: whether a float may stand for several written numbers


class RowValidator:
    """Validates rows into `checked`, a DuckDB table of `columns`, one source after the other; rows are numbered across sources."""

    def __init__(self, database: Any, table: schema.Table, columns: Sequence[schema.Column], checked: str, now_us: int) -> None:
        self._database, self._table, self._columns, self._checked, self._now_us = database, table, tuple(columns), checked, now_us
        self._rules = {rule.name: rule for rule in rules.RULES[table.name].columns}
        self._epochs: dict[tuple[str, str], Epoch | None] = {}
        self.num_rows = 0
        types = ", ".join(f"{quoted(column.name)} {SQL_TYPES[column.kind]}" for column in columns)
        database.execute(f"CREATE OR REPLACE TABLE {checked} ({ROW} BIGINT, {types}, {ERROR} VARCHAR)")

    def add(self, source: Source, batch: "pa.Table") -> list[BadRow]:
        """Insert a batch of a source into the table; returns the number, row error and value of each bad row, ascending."""
        present = [column for column in self._columns if column.name in source.columns]
        rows = pa.table({column.name: prepare(column, batch[column.name], source.file) for column in present})
        inexact = {column.name: flags for column in present if (flags := _inexact(column, source, batch[column.name])) is not None}
        for name, flags in inexact.items():
            rows = rows.append_column(name + INEXACT, pa.array(flags))
        rows = rows.append_column(ROW, pa.array(np.arange(self.num_rows, self.num_rows + len(batch))))
        first, self.num_rows = self.num_rows, self.num_rows + len(batch)
        self._database.register(RAW, rows)
        self._database.execute(self._insert_sql(source, present, rows.schema))
        self._database.unregister(RAW)
        query = f"SELECT {ROW}, {ERROR} FROM {self._checked} WHERE {ROW} >= {first} AND {ERROR} IS NOT NULL ORDER BY {ROW}"
        found = self._database.execute(query).fetchall()
        return [BadRow(row, error, _value_text(batch, error.partition(":")[2], row - first)) for row, error in found]

    def counts(self, source: Source) -> list[str]:
        """Notes on the units of the source's integer timestamps, one per column."""
        found = {name: counts for (file, name), counts in self._epochs.items() if file == source.file}
        return [f"{name} counts {counts.name} since 1970" for name, counts in found.items() if counts]

    def _insert_sql(self, source: Source, present: Sequence[schema.Column], shape: "pa.Schema") -> str:
        """SQL that inserts the converted batch with the first row error of each row: of its columns in order, then across columns."""
        names = [column.name for column in present]
        conversions: dict[str, Conversion] = {}
        most_bytes = rules.MAX_SENT_BYTES if source.is_landed else rules.MAX_VALUE_BYTES
        for column in present:
            kind = shape.field(column.name).type
            counts = self._epoch(source, column) if column.kind is schema.Kind.TIME and pa.types.is_string(kind) else None
            found = conversion(_rule_for(self._rules[column.name], names), kind, counts, most_bytes)
            if column.name + INEXACT in shape.names:
                found = replace(
                    found, fault=f"CASE WHEN {quoted(column.name + INEXACT)} THEN '{rules.WRONG_TYPE}' ELSE ({found.fault}) END"
                )
            conversions[column.name] = found
        values = "".join(f", {found.value} AS {quoted(name)}" for name, found in conversions.items())
        faults = "".join(f", ({found.fault}) || ':{name}' AS {quoted(name + '?')}" for name, found in conversions.items())
        errors = ", ".join([*(quoted(name + "?") for name in names), *_row_checks(self._table, names, self._now_us), "NULL"])
        selected = "".join(f", {quoted(name)}" for name in names)
        return f"""
            INSERT INTO {self._checked} ({ROW}{selected}, {ERROR})
            SELECT {ROW}{selected}, coalesce({errors}) FROM (SELECT {ROW}{values}{faults} FROM {RAW})"""

    def _epoch(self, source: Source, column: schema.Column) -> Epoch | None:
        """The unit of a column's integer timestamps, decided by the first batch with a value and kept for the whole file."""
        key = (source.file, column.name)
        if key not in self._epochs:
            name = quoted(column.name)
            if self._database.execute(f"SELECT 1 FROM {RAW} WHERE trim({name}) <> '' LIMIT 1").fetchone() is None:
                return None
            self._epochs[key] = epoch(self._database, RAW, column)
        return self._epochs[key]


def _inexact(column: schema.Column, source: Source, values: "pa.ChunkedArray") -> NDArray[np.bool_] | None:
    """Flags of floats in an id, text or integer column that may stand for several written numbers, [rows]; None without any."""
    if column.kind not in {schema.Kind.ID, schema.Kind.TEXT, schema.Kind.INT}:
        return None
    flags = np.zeros(len(values), np.bool_)
    flags[list(source.inexact(column.name))] = True
    if pa.types.is_floating(values.type):
        flags |= np.abs(values.cast(pa.float64()).fill_null(0).to_numpy()) >= rules.NOT_EXACT
    return flags if flags.any() else None


def _rule_for(rule: ColumnRule, names: Sequence[str]) -> ColumnRule:
    """The rule of a column in a file with these columns: no value is needed beside the alternative."""
    return replace(rule, missing="") if rule.alternative in names else rule


def _row_checks(table: schema.Table, names: Sequence[str], now_us: int) -> list[str]:
    """SQL of the codes of the row rules that apply to a file with these columns, in their order."""
    checks = [_row_check(rule, names, now_us) for rule in rules.RULES[table.name].rows]
    return [check for check in checks if check]


def _row_check(rule: RowRule, names: Sequence[str], now_us: int) -> str:
    """SQL of a row rule's code and column where it is broken, else NULL; empty if the file lacks the columns that it is about."""
    match rule:
        case NotInFuture():
            needed, column = {rule.column}, rule.column
            known_us = f"coalesce({quoted(schema.INGESTED_AT)}, {now_us})" if schema.INGESTED_AT in names else str(now_us)
            broken = f"{quoted(rule.column)} > {known_us} + {rules.MAX_CLOCK_SKEW_US}"
        case AnyOf():
            present = [name for name in rule.columns if name in names]
            needed, column = {rule.columns[-1]}, next(iter(present), "")
            broken = " AND ".join(f"{quoted(name)} IS NULL" for name in present)
        case LengthIs():
            needed, column = {rule.column, rule.values}, rule.column
            broken = f"{quoted(rule.column)} <> len({quoted(rule.values)})"
        case KnownType():
            needed, column = {rule.column}, rule.column
            broken = f"{quoted(rule.column)} NOT IN ({texts(rule.choices)})"
        case RequiredColumn():
            needed, column = {rule.column, schema.EVENT_TYPE}, rule.column
            broken = f"{quoted(schema.EVENT_TYPE)} IN ({texts(rule.types)}) AND {quoted(rule.column)} IS NULL"
    return f"CASE WHEN {broken} THEN '{rule.code}:{column}' END" if needed <= set(names) else ""


def _value_text(batch: "pa.Table", column: str, row: int) -> str:
    """The value in the file as text, empty where there is none."""
    value = batch[column][row].as_py() if column in batch.column_names else None
    return value if isinstance(value, str) else "" if value is None else str(value)
