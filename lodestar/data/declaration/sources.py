"""Sources of a declared table: files read, joined, exploded and projected onto the contract's columns, batch by batch.

What takes all rows at once (the latest of a key, a file of properties, an order that is ranked) goes through a DuckDB database on disk, so
that memory does not grow with the rows. Every row that is left out is counted by its reason, and every row keeps its line number.
"""

import html
from collections import ChainMap, Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.data.declaration import forms, projection, relations
from lodestar.data.declaration.forms import identifier
from lodestar.data.declaration.model import Declaration, TableSource
from lodestar.data.declaration.projection import DROPPED, HTML, ORDER, RAW, ROW
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.data.readers.table_files import partitions, with_partitions
from lodestar.errors import DataError, Location
from lodestar.io.disk_database import open_database
from lodestar.io.private_folders import workspace

MEMORY = "250MB"  # of the database; the rest spills to its folder
BATCH_ROWS = 125_000
EMPTY_LIST = "the list of the row is empty"
OLDER = "an older row of the same key, or a property that is not read"
LOADED, PLACED = "loaded", "placed"


@dataclass(frozen=True, kw_only=True)
class DeclaredTable:
    """One source of a table in a declaration: its files, and how other files that it names are found."""

    declaration: Declaration
    source: TableSource
    table: schema.Table
    root: Path
    paths: tuple[Path, ...]
    find: relations.Find

    @property
    def is_whole(self) -> bool:
        """Whether all rows are needed at once."""
        return bool(self.source.key_value or self.source.latest != "" or self._is_ranked)

    @property
    def _is_ranked(self) -> bool:
        order = projection.order_of(self.declaration, self.source)
        return self.table is schema.EVENTS and bool(order) and projection.is_ranked(order)

    def sources(self, is_wanted: Callable[[Path], bool] = lambda _: True) -> list[Source]:
        """One source for each wanted file, or one for all of them where all rows are needed at once."""
        paths = [path for path in self.paths if is_wanted(path)]
        if not paths:
            return []
        raw = [self._raw(path) for path in (self.paths if self.is_whole else paths)]
        return [self._whole(raw)] if self.is_whole else [self._projected(one) for one in raw]

    def _raw(self, path: Path) -> Source:
        options = relations.options_of(self.source, self.declaration)
        wanted = projection.wanted(self.declaration, self.source, self.table)
        numbers = [one for one in wanted if isinstance(one, int)]
        names = read(path, (), options).names if numbers else ()
        named = {one for one in wanted if isinstance(one, str)} | {names[one - 1] for one in numbers if one <= len(names)}
        name = path.relative_to(self.root) if path.is_relative_to(self.root) else Path(path.name)
        return replace(with_partitions(read(path, named, options), partitions(name), named), file=name.as_posix())

    def _columns(self, names: Collection[str]) -> tuple[str, ...]:
        """The contract's columns that rows of a file with these columns have, in the contract's order."""
        found = projection.columns_of(self.declaration, self.source, self.table, names)
        return tuple(name for name in self.table.names if name in found)

    def _projected(self, raw: Source) -> Source:
        """A file's rows on the contract's columns."""
        state = _State()
        batches = partial(self._batches, raw, state)
        return self._as_source(raw, state, batches, raw.names)

    def _as_source(self, raw: Source, state: "_State", batches: Callable[[], Iterator["pa.Table"]], names: Sequence[str]) -> Source:
        joined = self._joined_names() if self.source.join else []
        columns = self._columns([*names, *joined])
        sources = projection.columns_of(self.declaration, self.source, self.table, [*names, *joined]).values()
        used = {
            names[one - 1] if isinstance(one, int) and one <= len(names) else one
            for one in projection.wanted_columns(self.declaration, self.source)
        }
        used |= {str(one).partition(".")[0] for one in projection.references(sources)}
        unused = [name for name in names if name not in used and name not in columns]
        return replace(
            raw,
            names=(*columns, *unused),
            columns=columns,
            batches=batches,
            lines=partial(state.lines, raw.lines),
            skipped_rows=ChainMap(state.left_out, raw.skipped_rows),  # type: ignore[arg-type]
            inexact=lambda name: raw.inexact(state.passed[name]) if name in state.passed else (),
            cells=relations.cells_of(self.source, self.declaration),
        )

    def _joined_names(self) -> list[str]:
        """Names of the columns of joined files."""
        found = []
        for join in self.source.join:
            for path in self.find(join.files)[:1]:
                found += [join.prefix + name for name in read(path, (), relations.options_of(join, self.declaration)).names]
        return found

    @contextmanager
    def _database(self) -> Iterator[Any]:
        """A DuckDB database with the joined files and trees."""
        with workspace() as folder, open_database(Path(folder, "declared.duckdb"), MEMORY) as database:
            database.execute("PRAGMA disable_checkpoint_on_shutdown")
            database.create_function(HTML, html.unescape, ["VARCHAR"], "VARCHAR")
            relations.load_joins(database, self.source, self.find, self.declaration)
            relations.load_trees(database, self.source.column_sources, self.find, self.declaration)
            yield database

    def _batches(self, raw: Source, state: "_State") -> Iterator["pa.Table"]:
        state.clear()
        with self._database() as database:
            for batch in _numbered(raw.batches()):
                yield self._project(database, raw.file, raw.names, batch, state)

    def _project(self, database: Any, file: str, names: Sequence[str], batch: "pa.Table", state: "_State") -> "pa.Table":
        """One batch on the contract's columns; the state learns which of its rows are kept."""
        database.register(RAW, batch)
        relation = relations.joined(self.source, batch.column_names, names)
        shape = database.execute(f"SELECT * FROM {relation} LIMIT 0").to_arrow_table().schema if relation != RAW else batch.schema
        known = [name for name in shape.names if name != ROW]
        types = projection.types_of(shape, known)
        joined = [name for name in known if name not in names]
        found = projection.project(self.declaration, self.source, self.table, file, [*names, *joined], types)
        rows = database.execute(found.sql(relation)).to_arrow_table()
        database.unregister(RAW)
        state.passed = dict(found.passed)
        return state.keep(rows, len(batch) if self.source.explode else None)

    def _whole(self, raw: Sequence[Source]) -> Source:
        """All files' rows as one source."""
        state = _State()
        first = replace(raw[0], file=relations.source_file(raw), lines=_chained_lines(raw, state.ends))
        names = tuple(dict.fromkeys(name for one in raw for name in one.names))
        names = (*names, *self._properties()) if self.source.key_value else names
        return self._as_source(first, state, partial(self._whole_batches, raw, names, state), names)

    def _properties(self) -> list[str]:
        """Names of the properties of a key-value file that the declaration reads."""
        return [str(one) for one in projection.references(self.source.column_sources.values())]

    def _whole_batches(self, raw: Sequence[Source], names: Sequence[str], state: "_State") -> Iterator["pa.Table"]:
        state.clear()
        with self._database() as database:
            if not self._load(database, raw, state.ends):
                return
            reader = database.cursor().execute(self._restructured(database, names, state)).to_arrow_reader(BATCH_ROWS)
            batches = (pa.Table.from_batches([batch]) for batch in reader)
            if not self._is_ranked:
                for batch in batches:
                    yield self._project(database, raw[0].file, names, batch, state)
                return
            yield from self._ranked(database, (self._project(database, raw[0].file, names, batch, state) for batch in batches))

    def _load(self, database: Any, raw: Sequence[Source], ends: list[int]) -> bool:
        """Load all files into one table, with row numbers across them, `ends` after each file's last; returns whether there is a row."""
        start = 0
        exists = False
        for one in raw:
            for batch in _numbered(one.batches(), start):
                database.register(RAW, batch)
                if exists:
                    database.execute(f"INSERT INTO {LOADED} BY NAME SELECT * FROM {RAW}")
                else:
                    database.execute(f"CREATE TABLE {LOADED} AS SELECT * FROM {RAW}")
                    exists = True
                database.unregister(RAW)
                start += len(batch)
            ends.append(start)
        return exists

    def _restructured(self, database: Any, names: Sequence[str], state: "_State") -> str:
        """SQL of the rows that are projected: one for each key, or all."""
        rows = f"SELECT * FROM {LOADED} ORDER BY {identifier(ROW)}"
        if self.source.key_value is None and self.source.latest == "":
            return rows
        sources = projection.columns_of(self.declaration, self.source, self.table, names)
        keys = [self._name(one, names) for one in projection.references(sources[key] for key in self.table.key if key in sources)]
        if not keys:
            message = f"{self.table.name}: rows without {' and '.join(self.table.key)} have no key to be the latest of"
            place = Location(file=", ".join(path.name for path in self.paths[:3]))
            raise DataError("E141", message, remedy="Declare where the key comes from, or leave `latest` out.", place=place)
        if self.source.key_value:
            loaded = {
                name for (name,) in database.execute(f"SELECT column_name FROM duckdb_columns() WHERE table_name = '{LOADED}'").fetchall()
            }
            properties = [name for name in dict.fromkeys(self._properties()) if name not in keys and name not in loaded]
            rows = relations.key_value_sql(LOADED, keys, self.source.key_value, properties, names)
        else:
            rows = relations.latest_sql(LOADED, keys, self._name(self.source.latest, names)) + f" ORDER BY {identifier(ROW)}"
        total, kept = database.execute(f"SELECT (SELECT count(*) FROM {LOADED}), (SELECT count(*) FROM ({rows}))").fetchone()
        state.left_out[OLDER] += total - kept
        return rows

    def _name(self, column: str | int, names: Sequence[str]) -> str:
        return names[column - 1] if isinstance(column, int) else column

    def _ranked(self, database: Any, batches: Iterable["pa.Table"]) -> Iterator["pa.Table"]:
        """Rows with times that stand for the rank of each among its user's, by the order columns and then by the order of the rows."""
        exists, count = False, 0
        for batch in batches:
            numbered = batch.append_column(ROW, pa.array(np.arange(count, count + len(batch))))
            count += len(batch)
            database.register(PLACED, numbered)
            database.execute(f"INSERT INTO ranked SELECT * FROM {PLACED}" if exists else f"CREATE TABLE ranked AS SELECT * FROM {PLACED}")
            database.unregister(PLACED)
            exists = True
        if not exists:
            return
        names = [name for (name,) in database.execute("SELECT column_name FROM duckdb_columns() WHERE table_name = 'ranked'").fetchall()]
        keys = [identifier(name) for name in (schema.USER_ID, schema.SESSION_ID) if name in names]
        order = [f"TRY_CAST({identifier(name)} AS DOUBLE) NULLS FIRST, {identifier(name)}" for name in names if name.startswith(ORDER)]
        by = ", ".join([*order, identifier(ROW)])
        rank = f"row_number() OVER (PARTITION BY coalesce({', '.join([*keys, 'NULL'])}) ORDER BY {by}) - 1"
        times = f"{forms.order_time(rank)} AS {identifier(schema.EVENT_TIME)}"
        columns = ", ".join(identifier(name) for name in names if name != ROW and not name.startswith(ORDER))
        query = f"SELECT {columns}, {times} FROM ranked ORDER BY {identifier(ROW)}"
        for batch in database.cursor().execute(query).to_arrow_reader(BATCH_ROWS):
            yield pa.Table.from_batches([batch])


class _State:
    """What reading a source found: reasons and counts of rows left out, and the file's row of each row that is kept.

    `passed` are the file's columns that went on as they are, by contract column; `ends` the row numbers where files end.
    """

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self.passed: Mapping[str, str] = {}
        self.ends: list[int] = []
        self._rows: list[NDArray[np.int64]] = []

    def clear(self) -> None:
        """Forget what an earlier reading found."""
        self.left_out.clear()
        self.ends.clear()
        self._rows.clear()

    def keep(self, rows: "pa.Table", rows_before: int | None) -> "pa.Table":
        """The kept rows of a projected batch, without the columns of the projection; `rows_before` is their number before an explosion."""
        numbers, dropped = rows[ROW].to_numpy(), rows[DROPPED]
        if rows_before is not None:
            self.left_out[EMPTY_LIST] += rows_before - len(np.unique(numbers))
        is_kept = dropped.is_null().to_numpy() if dropped.null_count < len(rows) else np.ones(len(rows), np.bool_)
        if not is_kept.all():
            for reason in dropped.filter(pa.array(~is_kept)).value_counts():
                self.left_out[reason["values"].as_py()] += reason["counts"].as_py()
            rows, numbers = rows.filter(pa.array(is_kept)), numbers[is_kept]
        self._rows.append(numbers.astype(np.int64))
        self.left_out += Counter()  # reasons without a row are none
        return rows.drop_columns([ROW, DROPPED])

    def lines(self, lines: Callable[[Iterable[int]], Iterable[int]], rows: Iterable[int]) -> Iterator[int]:
        """The line of each row, in ascending order of the rows; several rows may come from one line."""
        numbers = np.concatenate(self._rows)[list(rows)] if self._rows else np.zeros(0, np.int64)
        distinct, index = np.unique(numbers, return_inverse=True)
        found = list(lines(distinct.tolist()))
        return (found[place] for place in index.tolist())


def _numbered(batches: Iterable["pa.Table"], start: int = 0) -> Iterator["pa.Table"]:
    """Batches with the numbers of their rows."""
    for batch in batches:
        yield batch.append_column(ROW, pa.array(np.arange(start, start + len(batch))))
        start += len(batch)


def _chained_lines(raw: Sequence[Source], ends: Sequence[int]) -> Callable[[Iterable[int]], Iterator[int]]:
    """Line numbers of rows that are numbered across several files: of each within its own."""

    def lines(rows: Iterable[int]) -> Iterator[int]:
        numbers = list(rows)
        for source, start, end in zip(raw, [0, *ends], ends, strict=False):
            yield from source.lines([number - start for number in numbers if start <= number < end])

    return lines
