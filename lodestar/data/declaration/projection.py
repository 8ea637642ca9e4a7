"""Projection of a file's rows onto a table of the contract, as SQL over one batch, and the columns that it needs."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.declaration import forms
from lodestar.data.declaration.expressions import ROW, Context
from lodestar.data.declaration.forms import identifier, literal
from lodestar.data.declaration.model import BY_FILE, BY_ROW, LEFT_OUT, ColumnSource, Declaration, TableSource

RAW, DROPPED, ORDER = "raw", "left out", "order column"  # names with a space are no column's of the contract


@dataclass(frozen=True, kw_only=True)
class Projection:
    """SQL of a table's columns over the relation `raw`: expressions by contract column, and reasons to leave a row out by condition.

    `passed` are columns that keep the values and types of the file, by contract column; `numbered` texts that numbers stand for.
    """

    expressions: Mapping[str, str]
    passed: Mapping[str, str]
    numbered: Mapping[str, str]
    dropped: Mapping[str, str] = field(default_factory=dict)

    def sql(self, relation: str = RAW) -> str:
        """SELECT of the columns, the row number and the reason why a row is left out, NULL for one that is kept."""
        columns = "".join(f", {expression} AS {identifier(name)}" for name, expression in self.expressions.items())
        reasons = " ".join(f"WHEN {condition} THEN {literal(reason)}" for reason, condition in self.dropped.items())
        dropped = f"CASE {reasons} END" if reasons else "NULL"
        return f"SELECT {identifier(ROW)}{columns}, {dropped} AS {identifier(DROPPED)} FROM {relation}"


def columns_of(declaration: Declaration, source: TableSource, table: schema.Table, names: Collection[str]) -> dict[str, ColumnSource]:
    """Where each column of a table comes from in a file with these columns; one of the contract's own name needs no mention."""
    columns = _present(source, names)
    used = {*references(columns.values()), *source.column_sources, *source.order, *declaration.order}
    columns |= {name: ColumnSource(column=name) for name in table.names if name in names and name not in used}
    if table is schema.EVENTS and declaration.event_type:
        columns[schema.EVENT_TYPE] = ColumnSource(constant=declaration.event_type)
    if table is schema.EVENTS and order_of(declaration, source):
        columns[schema.EVENT_TIME] = ColumnSource(column=schema.EVENT_TIME)
    return columns


def _present(source: TableSource, names: Collection[str]) -> dict[str, ColumnSource]:
    """The declared columns; where the source is recognised by others, without the columns that this file lacks."""
    columns = {name: column for name, column in source.column_sources.items() if not column.is_left_out}
    if source.recognise is None:
        return columns
    needed, count = source.recognise.columns, len(names)
    has = lambda one: one <= count if isinstance(one, int) else one in names or one in needed or one.partition(".")[0] in names  # noqa: E731
    found = {name: _without_absent(column, has) for name, column in columns.items()}
    return {name: column for name, column in found.items() if not column.is_left_out or column.default}


def _without_absent(source: ColumnSource, has: Callable[[str | int], bool]) -> ColumnSource:
    """A column's source without the file's columns that are not there."""
    kept: dict[str, Any] = {name: tuple(filter(has, getattr(source, name))) for name in ("first", "together", "flags")}
    kept |= {name: one if (one := getattr(source, name)) == "" or has(one) else "" for name in ("column", "plus")}
    inner = {name: _without_absent(column, has) for name, column in source.names.items()}
    kept["names"] = {name: column for name, column in inner.items() if not column.is_left_out}
    return source.model_copy(update=kept)


def order_of(declaration: Declaration, source: TableSource) -> tuple[str | int, ...]:
    """The columns that order a user's events in data without times, `row` or `file` for that of the rows; empty where there are times."""
    return source.order or declaration.order


def project(
    declaration: Declaration, source: TableSource, table: schema.Table, file: str, names: Sequence[str], types: Mapping[str, "pa.DataType"]
) -> Projection:
    """The projection of a file with the columns `names`, of which those read have these Arrow types, onto a table.

    DataError E143 where a column that the declaration names is not in the file.
    """
    columns = columns_of(declaration, source, table, names)
    context = Context(declaration=declaration, source=source, file=file, names=names, types=types)
    expressions: dict[str, str] = {}
    passed: dict[str, str] = {}
    order = order_of(declaration, source) if table is schema.EVENTS else ()
    for name, column in columns.items():
        if order and name == schema.EVENT_TIME:
            expressions |= _order_expressions(context, order)
        elif context.is_passed(table.column(name), column):
            passed[name] = context.name_of(column.column)
            expressions[name] = identifier(passed[name])
        else:
            expressions[name] = context.expression(table.column(name), column)
    numbered = {name: context.unnumbered(table.column(name), column) for name, column in columns.items() if column.numbered}
    dropped = _dropped(context, table, columns, expressions)
    return Projection(expressions=expressions, passed=passed, numbered=numbered, dropped=dropped)


def is_ranked(order: Sequence[str | int]) -> bool:
    """Whether the order of a user's events takes all of them to say: it is that of the rows, or of several columns."""
    return len(order) > 1 or order == (BY_ROW,)


def _order_expressions(context: "Context", order: Sequence[str | int]) -> dict[str, str]:
    """The time that stands for the position in a single column of whole numbers; several columns as they are, for ranks among them."""
    if order == (BY_FILE,):
        return {schema.EVENT_TIME: forms.order_time(identifier(ROW))}
    if not is_ranked(order):
        position = f"TRY_CAST({context.text(order[0])} AS BIGINT)"
        fits = f"{position} BETWEEN 0 AND {forms.MAX_ORDER}"
        return {schema.EVENT_TIME: f"CASE WHEN {fits} THEN {forms.order_time(position)} ELSE {context.text(order[0])} END"}
    return {f"{ORDER} {place}": context.text(one) for place, one in enumerate(order) if one != BY_ROW}


def _dropped(
    context: "Context", table: schema.Table, columns: Mapping[str, ColumnSource], expressions: Mapping[str, str]
) -> dict[str, str]:
    """Conditions under which a row is left out, by reason."""
    found = {}
    for name, values in context.source.only.items():
        among = ", ".join(map(literal, values))
        found[f"{name} is none of {', '.join(values)}, which the declaration asks for"] = (
            f"coalesce({context.text(name)}, '') NOT IN ({among})"
        )
    if table is schema.EVENTS and schema.EVENT_TYPE in expressions:
        mapped = {**context.declaration.event_types, **columns[schema.EVENT_TYPE].values}
        for value in (value for value, kind in mapped.items() if kind == LEFT_OUT):
            raw = context.part(table.column(schema.EVENT_TYPE), columns[schema.EVENT_TYPE])
            found[f"event type {value!r}, which the declaration leaves out"] = f"{raw} = {literal(value)}"
    return found


def references(columns: Iterable[ColumnSource]) -> list[str | int]:
    """Names and numbers of the file's columns that these sources take values from."""
    found: list[str | int] = []
    for column in columns:
        found += [one for one in (column.column, *column.first, *column.together, *column.flags, column.plus) if one != ""]
        found += references(column.names.values())
    return found


def wanted_columns(declaration: Declaration, source: TableSource) -> list[str | int]:
    """Names and numbers of the columns that a declaration names: of nested ones the path."""
    named: list[str | int] = [*references(source.column_sources.values()), *order_of(declaration, source), *source.only, source.latest]
    if source.explode:
        named.append(source.explode.column)
    if source.key_value:
        named += [source.key_value.key, source.key_value.value, source.key_value.latest]
    named += [join.on[0] if isinstance(join.on, tuple) else join.on for join in source.join]
    return [one for one in dict.fromkeys(named) if one not in {"", BY_ROW, BY_FILE}]


def wanted(declaration: Declaration, source: TableSource, table: schema.Table) -> list[str | int]:
    """Names and numbers of the columns that must be read from a file: of nested ones both the path and its head."""
    named = wanted_columns(declaration, source)
    return list(dict.fromkeys([*table.names, *named, *(one.partition(".")[0] for one in named if isinstance(one, str))]))


def types_of(shape: "pa.Schema", names: Sequence[str]) -> dict[str, "pa.DataType"]:
    """Arrow types of columns, dictionaries as their values."""
    found = {name: shape.field(name).type for name in names}
    return {name: kind.value_type if pa.types.is_dictionary(kind) else kind for name, kind in found.items()}
