"""SQL expressions of a contract column's values over the columns of a file, as a declaration says where they come from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.declaration import forms
from lodestar.data.declaration.forms import identifier, literal
from lodestar.data.declaration.model import CellForm, ColumnSource, Declaration, Parents, TableSource
from lodestar.errors import DataError, Location
from lodestar.process.suggestions import listed, suggestion

ROW = "source row"  # a name with a space is no column's of the contract
HTML = "text of html"  # function that DuckDB is given
DIGEST_DIGITS = 16
_LISTS = {schema.Kind.TEXT_LIST, schema.Kind.FLOAT_LIST}
_NUMBERS = {schema.Kind.FLOAT, schema.Kind.INT}


@dataclass(frozen=True, kw_only=True)
class Context:
    """What an expression depends on: the declaration, the table's source, all columns of the file, and the Arrow types of those read."""

    declaration: Declaration
    source: TableSource
    file: str
    names: Sequence[str]
    types: Mapping[str, "pa.DataType"]

    def form(self, column: CellForm) -> CellForm:
        """The form of a column's cells: its own options, else the table's, else the declaration's."""
        levels = (column, self.source, self.declaration)
        merged: dict[str, Any] = {
            name: next((one for level in levels if (one := getattr(level, name))), "") for name in CellForm.model_fields
        }
        merged["null"] = tuple(dict.fromkeys(text for level in levels for text in level.null))
        return CellForm(**merged)

    def name_of(self, column: str | int) -> str:
        """The name in the file of a column that is given by name or number; DataError E143 where the file has none."""
        if isinstance(column, int):
            if column > len(self.names):
                raise self._missing(f"column {column}", f"the file has {len(self.names)} columns", "")
            return self.names[column - 1]
        if column not in self.types:
            raise self._missing(column, f"the file has:\n{listed(self.names)}", suggestion(column, self.names))
        return column

    def _missing(self, column: str, there: str, near: str) -> DataError:
        message = f"the column that the declaration names is not in the file{near}; {there}"
        return DataError("E143", message, remedy="Name one of these in the declaration.", place=Location(file=self.file, column=column))

    def text(self, column: str | int) -> str:
        """SQL of a column's text; of `outer.inner` the value in the JSON object `outer`."""
        if isinstance(column, str) and column not in self.types and "." in column:
            head, *path = column.split(".")
            steps = "".join('."' + step.replace('"', "") + '"' for step in path)
            return f"json_extract_string({self.text(head)}, {literal('$' + steps)})"
        name = self.name_of(column)
        return text_of(identifier(name), self.types[name])

    def is_passed(self, column: schema.Column, source: ColumnSource) -> bool:
        """Whether a column goes on as it is, with its type: nothing is said of its form."""
        if source.column == "" or (isinstance(source.column, str) and source.column not in self.types):
            return False
        plain = source.model_copy(update={"column": ""}) == ColumnSource()
        form = self.form(source)
        needs: object = source.null or (column.name == schema.EVENT_TYPE and self.declaration.event_types)
        if column.kind in _NUMBERS:
            needs = needs or form.decimal or form.thousands
        if column.kind is schema.Kind.TIME:
            kind = self.types[self.name_of(source.column)]
            is_naive = pa.types.is_timestamp(kind) and kind.tz is None
            needs = needs or form.time_format or form.time_unit or is_naive  # texts without an offset are read in the zone by the validator
        return plain and not needs

    def base(self, column: schema.Column, source: ColumnSource) -> str:
        """SQL of a value's text before it is converted."""
        if source.constant or source.is_left_out:
            return literal(source.constant) if source.constant else "NULL::VARCHAR"
        if source.row:
            return f"{literal(source.row)} || {identifier(ROW)}"
        if source.flags:
            return forms.flags([str(one) for one in source.flags], [self.text(one) for one in source.flags])
        if source.names:
            pairs = ", ".join(f"{literal(name)}, {self.expression(_ATTRIBUTE, inner)}" for name, inner in source.names.items())
            return f"json_merge_patch('{{}}', json_object({pairs}))::VARCHAR"
        return self._together(column, source) if source.together else self._first(column, source)

    def _first(self, column: schema.Column, source: ColumnSource) -> str:
        is_whole = column is not _ATTRIBUTE and _is_whole(source)
        cells = [self._cell(one, source, is_whole=is_whole) for one in source.first or (source.column,)]
        return f"coalesce({', '.join(cells)})" if len(cells) > 1 else cells[0]

    def _together(self, column: schema.Column, source: ColumnSource) -> str:
        cells = ", ".join(self._cell(one, source) for one in source.together)
        if column.kind in _LISTS:
            return f"to_json(list_filter([{cells}], lambda one: one IS NOT NULL))::VARCHAR"
        return f"nullif(concat_ws({literal(source.glue or ' ')}, {cells}), '')"

    def _cell(self, column: str | int, source: ColumnSource, *, is_whole: bool = False) -> str:
        """SQL of a cell's trimmed text, NULL where it is blank or a text that means null.

        A cell that is a column's whole value keeps the texts that mean null in its table: the validator counts them.
        """
        text = f"nullif(trim({self.text(column)}), '')"
        null = source.null if is_whole else self.form(source).null
        return f"CASE WHEN {text} NOT IN ({', '.join(map(literal, null))}) THEN {text} END" if null else text

    def expression(self, column: schema.Column, source: ColumnSource) -> str:
        """SQL of a contract column's value, as text in the contract's form."""
        text = self.unnumbered(column, source)
        if source.numbered:
            text = f"(SELECT number FROM {numbers_name(column.name)} WHERE value = {text})"
        if source.prefix:
            text = f"{literal(source.prefix)} || {text}"
        return self._converted(column, source, text)

    def unnumbered(self, column: schema.Column, source: ColumnSource) -> str:
        """SQL of a value's text, which a number may stand for."""
        text = self._mapped(column, source, self.part(column, source))
        if source.separator:
            text = forms.parts(text, source.separator)
        if source.parents:
            text = f"coalesce((SELECT path FROM {tree_name(source.parents)} WHERE node = {text}), {text})"
        return f"sha256({text})[:{DIGEST_DIGITS}]" if source.digest else text

    def part(self, column: schema.Column, source: ColumnSource) -> str:
        """SQL of a value's text, or of the part of it that is meant."""
        text = self.base(column, source)
        if source.split:
            text = f"nullif(trim(string_split({text}, {literal(source.split)})[{source.part}]), '')"
        return f"CASE WHEN contains({text}, '&') THEN {identifier(HTML)}({text}) ELSE {text} END" if source.html else text

    def _mapped(self, column: schema.Column, source: ColumnSource, text: str) -> str:
        values = dict(source.values)
        if column.name == schema.EVENT_TYPE and not source.constant:
            values = {**self.declaration.event_types, **values}
        if not values and not source.default:
            return text
        whens = " ".join(f"WHEN {literal(theirs)} THEN {literal(ours)}" for theirs, ours in values.items())
        other = literal(source.default) if source.default else text
        return f"CASE {text} {whens} ELSE {other} END" if whens else f"coalesce({text}, {other})"

    def _converted(self, column: schema.Column, source: ColumnSource, text: str) -> str:
        form = self.form(source)
        if column.kind is schema.Kind.TIME:
            return forms.time(text, form, self.text(source.plus) if source.plus else "", source.plus_unit)
        if column.kind in _NUMBERS and (form.decimal or form.thousands):
            text = forms.number(text, form)
        if source.multiply is not None or source.clip is not None:
            text = forms.scaled(text, source)
        return text


_ATTRIBUTE = schema.Column(name=schema.ATTRS, kind=schema.Kind.TEXT, description="one attribute")


def numbers_name(column: str) -> str:
    """Name of the DuckDB table that holds the numbers of the values that a column has had so far."""
    return identifier(f"numbers of {column}")


def tree_name(parents: Parents) -> str:
    """Name of the DuckDB table that holds the paths of a tree's nodes."""
    return identifier(f"tree {' '.join(parents.files)}")


def maps_as_text(rows: "pa.Table") -> "pa.Table":
    """Rows whose maps are the texts of JSON objects: DuckDB takes no map that has a key twice, or none, which is a row's fault."""
    for index, field in enumerate(rows.schema):
        if _holds_map(field.type):
            rows = rows.set_column(index, field.name, json_texts(rows.column(index)))
    return rows


def json_texts(values: "pa.ChunkedArray") -> "pa.Array":
    """Nested values as the texts of JSON."""
    return pa.array([None if value is None else _json_text(value, values.type) for value in values.to_pylist()], pa.string())


def _holds_map(kind: "pa.DataType") -> bool:
    return bool(pa.types.is_map(kind)) or any(_holds_map(kind.field(index).type) for index in range(kind.num_fields))


def _json_text(value: Any, kind: "pa.DataType") -> str:
    if not pa.types.is_map(kind):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "{" + ", ".join(f"{json.dumps(str(key))}: {json.dumps(held, ensure_ascii=False, default=str)}" for key, held in value) + "}"


def text_of(column: str, kind: "pa.DataType") -> str:
    """SQL of the text of a column of a typed file."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_timestamp(kind):
        return (
            f"strftime(timezone('UTC', {column}), '{forms.ISO_UTC}')" if kind.tz else f"strftime({column}::TIMESTAMP, '{forms.ISO_NAIVE}')"
        )
    if pa.types.is_nested(kind):
        return f"to_json({column})::VARCHAR"
    if pa.types.is_floating(kind):
        return f"CASE WHEN {column} = floor({column}) AND abs({column}) < 1e15 THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
    return f"{column}::VARCHAR"


def _is_whole(source: ColumnSource) -> bool:
    """Whether a cell is the column's value, whatever its form, and nothing is made of it."""
    return source.model_copy(update={"column": "", **CellForm().model_dump()}) == ColumnSource()
