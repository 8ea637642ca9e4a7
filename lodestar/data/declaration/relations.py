"""Relations that take more than one row: joined files, trees of categories, files of properties, the latest of several rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data.contract.cells.times import dates_note
from lodestar.data.contract.rules import RATING_SCALE, CellOptions
from lodestar.data.declaration.expressions import ROW, json_texts, numbers_name, tree_name
from lodestar.data.declaration.forms import identifier, literal
from lodestar.data.declaration.model import ColumnSource, Declaration, Join, KeyValue, ReadingForm, TableSource
from lodestar.data.declaration.projection import RAW
from lodestar.data.readers.options import ReadOptions
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.errors import DataError, Location
from lodestar.process.suggestions import listed, suggestion

ELEMENT = "source element"
_CLOCKS = ("%H", "%I", "%X", "%c", "%s")
MAX_DEPTH = 64  # of a tree; a cycle ends here
Find = Callable[[Sequence[str]], list[Path]]


def options_of(*levels: Any) -> ReadOptions:
    """Options of reading, each from the first level that gives it."""
    found = {name: next((value for level in levels if (value := getattr(level, name)) not in ("", (), None)), None) for name in _OPTIONS}
    return ReadOptions(**{name: value for name, value in found.items() if value is not None})


_OPTIONS = tuple(ReadingForm.model_fields)


def cells_of(source: TableSource, declaration: Declaration) -> CellOptions:
    """What is declared of a source's cells for the validator."""
    scale = declaration.rating_scale
    return CellOptions(
        null=tuple(dict.fromkeys((*source.null, *declaration.null))),
        id_type=source.id_type or declaration.id_type,
        time_zone=source.time_zone or declaration.time_zone,
        rating_scale=(float(scale[0]), float(scale[1])) if scale else RATING_SCALE,
        arms=declaration.arms,
    )


def notes_of(source: TableSource, declaration: Declaration) -> tuple[str, ...]:
    """What the report says of declared forms: event times that are dates without a clock."""
    column = source.column_sources.get(schema.EVENT_TIME, ColumnSource())
    levels = (column, source, declaration)
    unit, form = (next((text for level in levels if (text := getattr(level, name))), "") for name in ("time_unit", "time_format"))
    has_clock = unit != "date" and (not form or any(part in form for part in _CLOCKS))
    return () if has_clock or column.plus else (dates_note(schema.EVENT_TIME),)


def load_joins(database: Any, source: TableSource, find: Find, top: Any) -> list[str]:
    """Load each joined file into a table `joined N`; returns the names of their columns. DataError E144 where a key comes twice."""
    names: list[str] = []
    for number, join in enumerate(source.join):
        table = identifier(f"joined {number}")
        columns = _load(database, table, join, find(join.files), top)
        theirs = _key(join, columns, 1)
        twice = database.execute(
            f"SELECT {identifier(theirs)} FROM {table} WHERE {identifier(theirs)} IS NOT NULL GROUP BY 1 HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if twice:
            place = Location(file=", ".join(join.files), column=theirs, value=str(twice[0]))
            message = "rows are joined to more than one row: the key comes twice in the joined file"
            raise DataError("E144", message, remedy="Join by a column whose values are unique there.", place=place)
        names += [join.prefix + column for column in columns if column != theirs]
    return names


def _key(join: Join, columns: Sequence[str], side: int) -> str:
    key = join.on[side] if isinstance(join.on, tuple) else join.on
    if isinstance(key, int):
        return columns[key - 1]
    if key not in columns:
        place = Location(file=", ".join(join.files), column=key)
        raise DataError(
            "E143",
            f"the column of the join is not in the file{suggestion(key, columns)}; it has:\n{listed(columns)}",
            remedy="Name one of these in the declaration.",
            place=place,
        )
    return key


def _load(database: Any, table: str, form: Any, paths: Sequence[Path], top: Any) -> list[str]:
    """Load files of text columns into a new table; returns the columns of the first."""
    columns: list[str] = []
    for path in paths:
        options = options_of(form, top)
        source = read(path, EVERY, options)
        for batch in source.batches():
            text = pa.table({name: _as_text(batch[name]) for name in source.columns})
            database.register("loading", text)
            if not columns:
                columns = list(source.columns)
                database.execute(f"CREATE TABLE {table} AS SELECT * FROM loading LIMIT 0")
            database.execute(f"INSERT INTO {table} BY NAME SELECT * FROM loading")
            database.unregister("loading")
    return columns


class _Every:
    """A collection that holds every name: all columns of a file are read."""

    def __contains__(self, _name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


EVERY = _Every()


def _as_text(values: "pa.ChunkedArray") -> Any:
    if pa.types.is_nested(values.type):
        return json_texts(values)
    return values if pa.types.is_string(values.type) else values.cast(pa.string())


def load_trees(database: Any, columns: Mapping[str, ColumnSource], find: Find, top: Any) -> None:
    """Load each tree into a table of nodes and their paths from the root, as JSON lists; a node whose parents form a cycle has none."""
    for number, column in enumerate(columns.values()):
        if column.parents is None:
            continue
        edges = identifier(f"edges {number}")
        names = _load(database, edges, top, find(column.parents.files), top)
        child, parent = (
            identifier(names[one - 1] if isinstance(one, int) else one) for one in (column.parents.child, column.parents.parent)
        )
        database.execute(f"""
            CREATE TABLE IF NOT EXISTS {tree_name(column.parents)} AS
            WITH RECURSIVE edges AS (
                SELECT trim({child}) AS node, nullif(trim({parent}), '') AS parent FROM {edges} WHERE trim({child}) <> ''
                QUALIFY row_number() OVER (PARTITION BY trim({child})) = 1),
            walk AS (
                SELECT node, parent, [node] AS path FROM edges
                UNION ALL
                SELECT walk.node, edges.parent, list_prepend(coalesce(edges.node, walk.parent), walk.path)
                FROM walk LEFT JOIN edges ON walk.parent = edges.node WHERE walk.parent IS NOT NULL AND len(walk.path) < {MAX_DEPTH})
            SELECT node, to_json(path)::VARCHAR AS path FROM walk WHERE parent IS NULL""")


def number(database: Any, column: str, text: str, relation: str) -> None:
    """Number the values of a column that did not come before: 0, 1, 2, … in the order of the rows."""
    table = numbers_name(column)
    database.execute(f"CREATE TABLE IF NOT EXISTS {table} (value VARCHAR, number BIGINT)")
    database.execute(f"""
        INSERT INTO {table}
        SELECT value, (SELECT count(*) FROM {table}) + row_number() OVER (ORDER BY row) - 1
        FROM (SELECT {text} AS value, min({identifier(ROW)}) AS row FROM {relation} GROUP BY ALL)
        WHERE value IS NOT NULL AND value NOT IN (SELECT value FROM {table})""")


def joined(source: TableSource, columns: Sequence[str], names: Sequence[str]) -> str:
    """SQL of the relation `raw` with its joined columns, and a row for each element of an exploded list, in the order of the rows."""
    query = RAW
    for number, join in enumerate(source.join):
        table, ours = identifier(f"joined {number}"), _named(join.on[0] if isinstance(join.on, tuple) else join.on, names)
        others = f"COLUMNS(c -> c <> {literal(_theirs(join))})"
        prefixed = f"{others} AS {literal(join.prefix + chr(92) + '0')}" if join.prefix else others
        query = f"""
            (SELECT ours.*, theirs.* EXCLUDE ({identifier("joining key")}) FROM {query} AS ours
            LEFT JOIN (SELECT {prefixed}, {identifier(_theirs(join))} AS {identifier("joining key")} FROM {table}) AS theirs
            ON trim(ours.{identifier(ours)}) = trim(theirs.{identifier("joining key")}))"""
    if source.explode is None:
        return f"(SELECT * FROM {query} ORDER BY {identifier(ROW)})" if source.join else query
    listed_in = _named(source.explode.column, names)
    text = identifier(listed_in)
    listed = elements(text, source.explode.separator)
    if source.explode.skip:
        listed = f"({listed})[{source.explode.skip + 1}:]"
    without = "" if source.explode.into else f"{text}, "
    element = identifier(source.explode.into or listed_in)
    return f"""
        (SELECT * EXCLUDE ({without}{identifier(ELEMENT)}), {identifier(ELEMENT)}['one'] AS {element} FROM (
            SELECT *, unnest(list_transform({listed}, lambda one, place: {{'one': one, 'place': place}})) AS {identifier(ELEMENT)}
            FROM {query})
        ORDER BY {identifier(ROW)}, {identifier(ELEMENT)}['place'])"""


def elements(text: str, separator: str) -> str:
    """SQL of the elements of a list: of a JSON array, or between separators without empty ones."""
    return f"""
        CASE WHEN starts_with(trim({text}), '[') AND json_valid({text})
        THEN list_transform(from_json({text}, '["JSON"]'), lambda one: json_extract_string(one, '$'))
        ELSE list_filter(string_split({text}, {literal(separator)}), lambda one: trim(one) <> '') END"""


def _theirs(join: Join) -> str:
    key = join.on[1] if isinstance(join.on, tuple) else join.on
    return str(key)


def _named(column: str | int, names: Sequence[str]) -> str:
    return names[column - 1] if isinstance(column, int) else column


def latest_sql(table: str, keys: Sequence[str], latest: str) -> str:
    """SQL of the row of each key with the greatest value in a column, as a number where it is one; the later row of equals.

    `keys` are expressions; a row without one of them is kept.
    """
    value = identifier(latest)
    return _one_row_sql(table, keys, f"TRY_CAST({value} AS DOUBLE) DESC NULLS LAST, {value} DESC NULLS LAST, {identifier(ROW)} DESC")


def first_sql(table: str, keys: Sequence[str]) -> str:
    """SQL of the first row of each key; `keys` are expressions, and a row without one of them is kept."""
    return _one_row_sql(table, keys, identifier(ROW))


def _one_row_sql(table: str, keys: Sequence[str], order: str) -> str:
    texts = [f"trim(({key})::VARCHAR)" for key in keys]
    is_without = " OR ".join(f"{text} IS NULL" for text in texts)
    by = f"PARTITION BY {', '.join(texts)} ORDER BY {order}"
    return f"SELECT * FROM {table} QUALIFY row_number() OVER ({by}) = 1 OR {is_without} ORDER BY {identifier(ROW)}"


def key_value_sql(table: str, keys: Sequence[str], form: KeyValue, properties: Sequence[str], names: Sequence[str]) -> str:
    """SQL of one row for each key, with a column for each property, whose latest value it has."""
    key, value = identifier(_named(form.key, names)), identifier(_named(form.value, names))
    time = f"TRY_CAST({identifier(_named(form.latest, names))} AS DOUBLE)" if form.latest != "" else "NULL"
    by = f"{{'time': coalesce({time}, 0), 'row': {identifier(ROW)}}}"
    columns = "".join(f", max_by({value}, {by}) FILTER ({key} = {literal(name)}) AS {identifier(name)}" for name in properties)
    group = ", ".join(identifier(one) for one in keys)
    return f"SELECT {group}, min({identifier(ROW)}) AS {identifier(ROW)}{columns} FROM {table} GROUP BY {group} ORDER BY {identifier(ROW)}"


def source_file(sources: Sequence[Source]) -> str:
    """The name of several files that are read as one."""
    names = [source.file for source in sources]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
