"""The sample of one file: its columns as text, how they had to be read, and what that leaves to decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from lodestar.data.declaration import expressions, projection
from lodestar.data.declaration.forms import identifier, literal
from lodestar.data.declaration.relations import elements
from lodestar.data.describe.samples.mirror import Mirrored
from lodestar.data.describe.samples.number_values import NumberReading, read_numbers
from lodestar.data.describe.samples.time_values import TimeReading, read_times
from lodestar.data.describe.samples.values import JSON_VALUE, MOST, Values
from lodestar.data.readers.formats import format_of
from lodestar.data.readers.options import CSV, ReadOptions
from lodestar.data.readers.readers import read
from lodestar.errors import Location

MAX_ROWS = 250_000  # more than a sample of text has
MAX_NESTED = 40


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """An option of reading that was tried and that a person must confirm: a line of the declaration, the code and what speaks for it."""

    key: str
    value: str
    code: str
    message: str
    place: Location


@dataclass(frozen=True, kw_only=True)
class FileSample:
    """A file called `file`, below the dataset's folder: its mirrored sample, the options it was read with, and its rows as text.

    `types` are the file's own. `doubts` are options that are guesses. `has_header` is False where the first line is a row. `parts` are the
    samples of several files that are one. `is_sequences`: each line has a user and then items, of which the rows are pairs.
    """

    file: str
    mirrored: Mirrored
    options: ReadOptions
    rows: pa.Table
    types: Mapping[str, "pa.DataType"]
    database: Any
    doubts: tuple[Doubt, ...] = ()
    has_header: bool = True
    parts: tuple["FileSample", ...] = ()
    is_sequences: bool = False
    _cache: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, and of the values within those that hold JSON objects, as `outer.inner`."""
        return (*self.rows.column_names, *self._nested)

    @cached_property
    def _nested(self) -> dict[str, "pa.ChunkedArray"]:
        found: dict[str, pa.ChunkedArray] = {}
        for name in self.rows.column_names:
            if self._own_values(name).share(r"\{.*\}") >= MOST:
                found |= self._inner(name)
        return found

    def _inner(self, name: str) -> dict[str, "pa.ChunkedArray"]:
        """The values within a column of JSON objects, by path, to the second level."""
        self.database.register("nested values", self.rows.select([name]).rename_columns(["value"]))
        valid = "CASE WHEN json_valid(value) THEN value END"
        query = f'SELECT DISTINCT unnest(json_keys({valid})) FROM "nested values" WHERE value IS NOT NULL LIMIT {MAX_NESTED}'
        keys = sorted(key for (key,) in self.database.execute(query).fetchall() if "." not in key and '"' not in key)
        found = {}
        if keys:
            columns = ", ".join(f"json_extract_string({valid}, {literal('$.' + identifier(key))}) AS {identifier(key)}" for key in keys)
            rows = self.database.execute(f'SELECT {columns} FROM "nested values"').to_arrow_table()
            found = {f"{name}.{key}": rows[key] for key in keys}
        self.database.unregister("nested values")
        return found

    def _own_values(self, name: str) -> Values:
        return Values.of(name, self.rows[name])

    def values(self, name: str) -> Values:
        """The values of a column."""
        cache = self._cache.setdefault("values", {})
        if name not in cache:
            cache[name] = Values.of(name, self._nested[name] if name in self._nested else self.rows[name])
        found: Values = cache[name]
        return found

    def times(self, name: str) -> TimeReading | None:
        """How a column's values can be read as times."""
        cache = self._cache.setdefault("times", {})
        if name not in cache:
            cache[name] = read_times(self.database, self.values(name))
        found: TimeReading | None = cache[name]
        return found

    def numbers(self, name: str) -> NumberReading | None:
        """How a column's values can be read as numbers."""
        cache = self._cache.setdefault("numbers", {})
        if name not in cache:
            cache[name] = read_numbers(self.values(name))
        found: NumberReading | None = cache[name]
        return found

    def is_nested(self, name: str) -> bool:
        """Whether a column holds JSON objects."""
        return self.values(name).share(JSON_VALUE) >= MOST

    def renamed(self, names: Sequence[str]) -> "FileSample":
        """The sample of a file without a header, under the names that its columns are given."""
        types = dict(zip(names, self.types.values(), strict=True))
        options = replace(self.options, columns=tuple(names), header=None)
        return replace(self, rows=self.rows.rename_columns(list(names)), types=types, options=options, parts=(), _cache={})

    def merged(self, others: Sequence["FileSample"]) -> "FileSample":
        """The rows of several files of the same columns as one sample."""
        parts = (self, *others)
        rows = pa.concat_tables([part.rows for part in parts])
        return replace(self, rows=rows, parts=parts, doubts=self.doubts, _cache={})

    def joined(self, other: "FileSample", on: str) -> "FileSample":
        """The rows with the columns of another file, found by a column of both."""
        new = [name for name in other.rows.column_names if name not in self.rows.column_names]
        self.database.register("our rows", self.rows)
        self.database.register("their rows", other.rows)
        columns = "".join(f", theirs.{identifier(name)}" for name in new)
        rows = self.database.execute(
            f'SELECT ours.*{columns} FROM "our rows" AS ours LEFT JOIN "their rows" AS theirs USING ({identifier(on)})'
        ).to_arrow_table()
        self.database.unregister("our rows")
        self.database.unregister("their rows")
        return replace(self, rows=rows, parts=(self,), _cache={})

    def exploded(self, name: str, separator: str) -> "FileSample":
        """The rows with one for each element of the lists in a column, up to `MAX_ROWS`."""
        self.database.register("listed rows", self.rows)
        text = identifier(name)
        columns = ", ".join(f"{elements(text, separator)} AS {text}" if one == name else identifier(one) for one in self.rows.column_names)
        listed = ", ".join(f"unnest({text}) AS {text}" if one == name else identifier(one) for one in self.rows.column_names)
        query = f'SELECT {listed} FROM (SELECT {columns} FROM "listed rows") LIMIT {MAX_ROWS}'
        rows = self.database.execute(query).to_arrow_table()
        self.database.unregister("listed rows")
        return replace(self, rows=rows, parts=self.parts or (self,), _cache={})

    @property
    def is_delimited(self) -> bool:
        """Whether the file is delimited text, whose columns have an order."""
        return format_of(self.mirrored.path, self.options) == CSV

    def place(self, name: str, value: str | None = None) -> Location:
        """The place of a column, with the line of a value if it is in the lines that the sample has in the file's own order."""
        for part in self.parts or (self,):
            line = part.line_of(name, value) if value is not None and name in part.names else None
            if line is not None:
                return Location(file=part.file, line=line, column=name, value=value)
        return Location(file=self.file, column=name, value=value)

    def line_of(self, name: str, value: str) -> int | None:
        """The line of the first row with a value in a column, None where it is not known."""
        if name not in self.rows.column_names or self.is_sequences:
            return None
        source = read(self.mirrored.path, (name,), self.options)
        place = 0
        for batch in source.batches():
            texts = as_texts(self.database, batch)[name].to_pylist()  # as in the sample
            for row, text in enumerate(texts):
                if text is not None and text.strip() == value:
                    line = next(iter(source.lines([place + row])), None)
                    return line if line is not None and line <= self.mirrored.head_lines else None
            place += len(texts)
        return None


def as_texts(database: Any, rows: "pa.Table") -> "pa.Table":
    """The rows with every value as the text that a declaration reads."""
    rows = expressions.maps_as_text(rows)
    types = projection.types_of(rows.schema, rows.schema.names)
    if all(pa.types.is_string(kind) for kind in rows.schema.types):
        return rows
    columns = ", ".join(f"{expressions.text_of(identifier(name), kind)} AS {identifier(name)}" for name, kind in types.items())
    database.register("typed rows", rows)
    found: pa.Table = database.execute(f'SELECT {columns} FROM "typed rows"').to_arrow_table()
    database.unregister("typed rows")
    return found


def as_text(values: Sequence[str]) -> str:
    """A few values in quotes, for a reason."""
    return ", ".join(repr(value) for value in values)
