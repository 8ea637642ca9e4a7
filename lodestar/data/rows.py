"""Judge rows one by one: a batch becomes typed rows of the contract, each with the code and column of its first offence."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data import rules
from lodestar.data.aside import OFFENCE, ROW, Bad
from lodestar.data.conversions import Conversion, conversion, epoch, prepared, quoted, texts
from lodestar.data.derive import SQL_TYPES
from lodestar.data.rules import Epoch
from lodestar.data.source import Source

RAW = "raw"
INEXACT = "!"  # behind a column's name: whether its number may have been another


class Judge:
    """Fills `target`, a DuckDB table of `columns`, from one source after the other; rows are numbered through."""

    def __init__(self, database: Any, table: schema.Table, columns: Sequence[schema.Column], target: str, now_us: int) -> None:
        self._database, self._table, self._columns, self._target, self._now_us = database, table, tuple(columns), target, now_us
        self._epochs: dict[tuple[str, str], Epoch | None] = {}
        self.num_rows = 0
        types = ", ".join(f"{quoted(column.name)} {SQL_TYPES[column.kind]}" for column in columns)
        database.execute(f"CREATE OR REPLACE TABLE {target} ({ROW} BIGINT, {types}, {OFFENCE} VARCHAR)")

    def add(self, source: Source, batch: "pa.Table") -> list[Bad]:
        """Put a batch of the source into the table; the number, offence and value of each bad row."""
        own = [column for column in self._columns if column.name in source.columns]
        rows = pa.table({column.name: prepared(column, batch[column.name], source.file) for column in own})
        odd = {column.name: flags for column in own if (flags := _inexact(column, source, batch[column.name])) is not None}
        for name, flags in odd.items():
            rows = rows.append_column(name + INEXACT, pa.array(flags))
        rows = rows.append_column(ROW, pa.array(np.arange(self.num_rows, self.num_rows + len(batch))))
        first, self.num_rows = self.num_rows, self.num_rows + len(batch)
        self._database.register(RAW, rows)
        self._database.execute(self._insertion(source, own, rows.schema))
        self._database.unregister(RAW)
        query = f"SELECT {ROW}, {OFFENCE} FROM {self._target} WHERE {ROW} >= {first} AND {OFFENCE} IS NOT NULL ORDER BY {ROW}"
        found = self._database.execute(query).fetchall()
        return [Bad(row, offence, _shown(batch, offence.partition(":")[2], row - first)) for row, offence in found]

    def counts(self, source: Source) -> list[str]:
        """What was found of the source's times."""
        found = {name: counts for (file, name), counts in self._epochs.items() if file == source.file}
        return [f"{name} counts {counts.name} since 1970" for name, counts in found.items() if counts]

    def _insertion(self, source: Source, own: Sequence[schema.Column], shape: "pa.Schema") -> str:
        names = [column.name for column in own]
        conversions: dict[str, Conversion] = {}
        most_bytes = rules.MOST_SENT_BYTES if source.is_landed else rules.MOST_VALUE_BYTES
        for column in own:
            kind = shape.field(column.name).type
            counts = self._epoch(source, column) if column.kind is schema.Kind.TIME and pa.types.is_string(kind) else None
            found = conversion(_required_here(column, names), kind, counts, most_bytes)
            if column.name + INEXACT in shape.names:
                found = replace(found, fault=f"CASE WHEN {quoted(column.name + INEXACT)} THEN 'E107' ELSE ({found.fault}) END")
            conversions[column.name] = found
        values = "".join(f", {found.value} AS {quoted(name)}" for name, found in conversions.items())
        faults = "".join(f", ({found.fault}) || ':{name}' AS {quoted(name + '?')}" for name, found in conversions.items())
        verdicts = ", ".join([*(quoted(name + "?") for name in names), *_across(self._table, names, self._now_us), "NULL"])
        chosen = "".join(f", {quoted(name)}" for name in names)
        return f"""
            INSERT INTO {self._target} ({ROW}{chosen}, {OFFENCE})
            SELECT {ROW}{chosen}, coalesce({verdicts}) FROM (SELECT {ROW}{values}{faults} FROM {RAW})"""

    def _epoch(self, source: Source, column: schema.Column) -> Epoch | None:
        """How the column counts; decided by the first batch that has a value, so that a whole file counts alike."""
        key = (source.file, column.name)
        if key not in self._epochs:
            name = quoted(column.name)
            if self._database.execute(f"SELECT 1 FROM {RAW} WHERE trim({name}) <> '' LIMIT 1").fetchone() is None:
                return None
            self._epochs[key] = epoch(self._database, RAW, column)
        return self._epochs[key]


def _inexact(column: schema.Column, source: Source, values: "pa.ChunkedArray") -> NDArray[np.bool_] | None:
    """Where a number stands for a text, or a whole number, that may have been another one; None where nowhere."""
    if column.kind not in {schema.Kind.ID, schema.Kind.TEXT, schema.Kind.INT}:
        return None
    flags = np.zeros(len(values), np.bool_)
    flags[list(source.inexact(column.name))] = True
    if pa.types.is_floating(values.type):
        flags |= np.abs(values.cast(pa.float64()).fill_null(0).to_numpy()) >= rules.NOT_EXACT
    return flags if flags.any() else None


def _required_here(column: schema.Column, names: Sequence[str]) -> schema.Column:
    """Who is not named is known by the session, where there is one."""
    if column.name != schema.USER_ID or schema.SESSION_ID not in names:
        return column
    return schema.Column(name=column.name, kind=column.kind)


def _across(table: schema.Table, names: Sequence[str], now_us: int) -> list[str]:
    """Codes that more than one column decides."""
    cases = []
    known = f"coalesce({quoted(schema.INGESTED_AT)}, {now_us})" if schema.INGESTED_AT in names else str(now_us)
    for name in (name for name in (schema.EVENT_TIME, schema.SHOWN_AT) if name in names):
        cases.append(f"CASE WHEN {quoted(name)} > {known} + {rules.LATEST_AFTER_US} THEN 'E105:{name}' END")
    if table in (schema.EVENTS, schema.IMPRESSIONS) and schema.SESSION_ID in names:
        missing = " AND ".join(f"{quoted(name)} IS NULL" for name in (schema.USER_ID, schema.SESSION_ID) if name in names)
        cases.append(f"CASE WHEN {missing} THEN 'E103:{schema.USER_ID if schema.USER_ID in names else schema.SESSION_ID}' END")
    if table is schema.ITEM_CONTENT and {schema.DIM, schema.EMBEDDING} <= set(names):
        length = f"len({quoted(schema.EMBEDDING)})"
        cases.append(f"CASE WHEN {quoted(schema.DIM)} <> {length} THEN 'E130:{schema.DIM}' END")
    return cases + (_needs(names) if schema.EVENT_TYPE in names else [])


def _needs(names: Sequence[str]) -> list[str]:
    """What an event's type asks for."""
    kind = quoted(schema.EVENT_TYPE)
    unknown = f"CASE WHEN {kind} NOT IN ({texts(schema.EventType)}) THEN 'E110:{schema.EVENT_TYPE}' END"
    needs = (need for need in rules.NEEDS if need.column in names)
    return [
        unknown,
        *(
            f"CASE WHEN {kind} IN ({texts(need.types)}) AND {quoted(need.column)} IS NULL THEN '{need.code}:{need.column}' END"
            for need in needs
        ),
    ]


def _shown(batch: "pa.Table", column: str, row: int) -> str:
    """The value as the file has it, empty where there is none."""
    value = batch[column][row].as_py() if column in batch.column_names else None
    return value if isinstance(value, str) else "" if value is None else str(value)
