"""Sources of a declared table: files read, joined, exploded and projected onto the contract's columns, batch by batch.

What takes all rows at once (the latest of a key, a file of properties, an order that is ranked) goes through a DuckDB database on disk, so
that memory does not grow with the rows. Every row that is left out is counted by its reason, and every row keeps its line number.
"""

from collections import ChainMap
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.data.declaration import forms, projection, relations
from lodestar.data.declaration.expressions import HTML, ROW
from lodestar.data.declaration.forms import identifier
from lodestar.data.declaration.kept_rows import KeptRows, chained_lines, numbered
from lodestar.data.declaration.model import BY_FILE, Declaration, TableSource
from lodestar.data.declaration.projection import ORDER, RAW
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.data.readers.table_files import partitions, with_partitions
from lodestar.errors import DataError, Location
from lodestar.io.disk_database import open_database
from lodestar.io.private_folders import workspace

MEMORY = "250MB"  # of the database; the rest spills to its folder
BATCH_ROWS = 125_000
OLDER = "another row of the same key, or a property that is not read"
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
        is_one = self._is_restructured or self._is_ranked
        counts_on = self._order == (BY_FILE,) or any(column.numbered for column in self.source.column_sources.values())
        return is_one or (len(self.paths) > 1 and counts_on)

    @property
    def _order(self) -> tuple[str | int, ...]:
        return projection.order_of(self.declaration, self.source) if self.table is schema.EVENTS else ()

    @property
    def _is_ranked(self) -> bool:
        return bool(self._order) and projection.is_ranked(self._order)

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
        state = KeptRows()
        batches = partial(self._batches, raw, state)
        return self._as_source(raw, state, batches, raw.names)

    def _as_source(self, raw: Source, state: KeptRows, batches: Callable[[], Iterator["pa.Table"]], names: Sequence[str]) -> Source:
        known = [*names, *self._added_names()]
        columns = self._columns(known)
        sources = projection.columns_of(self.declaration, self.source, self.table, known).values()
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
            notes=(*raw.notes, *(relations.notes_of(self.source, self.declaration) if self.table is schema.EVENTS else ())),
        )

    def _added_names(self) -> list[str]:
        """Names of the columns that a file's rows have beside its own: of joined files, and of elements."""
        found = [self.source.explode.into] if self.source.explode and self.source.explode.into else []
        for join in self.source.join:
            for path in self.find(join.files)[:1]:
                found += [join.prefix + name for name in read(path, (), relations.options_of(join, self.declaration)).names]
        return found

    @contextmanager
    def _database(self) -> Iterator[Any]:
        """A DuckDB database with the joined files and trees."""
        with workspace() as folder, open_database(Path(folder, "declared.duckdb"), MEMORY) as database:
            database.execute("PRAGMA disable_checkpoint_on_shutdown")
            database.create_function(HTML, forms.text_of_html, ["VARCHAR"], "VARCHAR")
            relations.load_joins(database, self.source, self.find, self.declaration)
            relations.load_trees(database, self.source.column_sources, self.find, self.declaration)
            yield database

    def _batches(self, raw: Source, state: KeptRows) -> Iterator["pa.Table"]:
        state.clear()
        with self._database() as database:
            for batch in numbered(raw.batches()):
                yield self._project(database, raw.file, raw.names, batch, state)

    def _project(self, database: Any, file: str, names: Sequence[str], batch: "pa.Table", state: KeptRows) -> "pa.Table":
        """One batch on the contract's columns; the state learns which of its rows are kept."""
        database.register(RAW, batch)
        relation = relations.joined(self.source, batch.column_names, names)
        shape = database.execute(f"SELECT * FROM {relation} LIMIT 0").to_arrow_table().schema if relation != RAW else batch.schema
        known = [name for name in shape.names if name != ROW]
        types = projection.types_of(shape, known)
        joined = [name for name in known if name not in names]
        found = projection.project(self.declaration, self.source, self.table, file, [*names, *joined], types)
        for name, text in found.numbered.items():
            relations.number(database, name, text, relation)
        rows = database.execute(found.sql(relation)).to_arrow_table()
        database.unregister(RAW)
        state.passed = dict(found.passed)
        return state.keep(rows, len(batch) if self.source.explode else None)

    def _whole(self, raw: Sequence[Source]) -> Source:
        """All files' rows as one source."""
        state = KeptRows()
        first = replace(raw[0], file=relations.source_file(raw), lines=chained_lines(raw, state.ends))
        names = tuple(dict.fromkeys(name for one in raw for name in one.names))
        names = (*names, *self._properties()) if self.source.key_value else names
        return self._as_source(first, state, partial(self._whole_batches, raw, names, state), names)

    def _properties(self) -> list[str]:
        """Names of the properties of a key-value file that the declaration reads."""
        return [str(one) for one in projection.references(self.source.column_sources.values())]

    def _whole_batches(self, raw: Sequence[Source], names: Sequence[str], state: KeptRows) -> Iterator["pa.Table"]:
        state.clear()
        with self._database() as database:
            found = self._restructured(database, raw, names, state) if self._is_restructured else self._chained(raw, state.ends)
            projected = (self._project(database, raw[0].file, names, batch, state) for batch in found)
            yield from self._ranked(database, projected) if self._is_ranked else projected

    @property
    def _is_restructured(self) -> bool:
        """Whether of several rows one is kept, or made."""
        return bool(self.source.key_value or self.source.latest != "" or self.source.distinct)

    def _chained(self, raw: Sequence[Source], ends: list[int]) -> Iterator["pa.Table"]:
        """The rows of all files, numbered across them; `ends` are the numbers after each file's last."""
        start = 0
        for one in raw:
            for batch in numbered(one.batches(), start):
                start += len(batch)
                yield batch
            ends.append(start)

    def _load(self, database: Any, batches: Iterable["pa.Table"]) -> bool:
        """Load rows into one table; returns whether there is one."""
        exists = False
        for batch in batches:
            database.register(RAW, batch)
            query = f"INSERT INTO {LOADED} BY NAME" if exists else f"CREATE TABLE {LOADED} AS"
            database.execute(f"{query} SELECT * FROM {RAW}")
            database.unregister(RAW)
            exists = True
        return exists

    def _restructured(self, database: Any, raw: Sequence[Source], names: Sequence[str], state: KeptRows) -> Iterator["pa.Table"]:
        """One row for each key, of all files' rows."""
        if not self._load(database, self._chained(raw, state.ends)):
            return
        shape = database.execute(f"SELECT * FROM {LOADED} LIMIT 0").to_arrow_table().schema
        if self.source.key_value:
            sources = projection.columns_of(self.declaration, self.source, self.table, names)
            keys = [self._name(one, names) for one in projection.references(sources[key] for key in self.table.key if key in sources)]
            properties = [name for name in dict.fromkeys(self._properties()) if name not in keys and name not in shape.names]
            rows = relations.key_value_sql(LOADED, self._checked(keys), self.source.key_value, properties, names)
        else:
            keys = self._key_expressions(raw[0].file, names, shape)
            latest = self._name(self.source.latest, names)
            rows = relations.first_sql(LOADED, keys) if self.source.distinct else relations.latest_sql(LOADED, keys, latest)
        total, kept = database.execute(f"SELECT (SELECT count(*) FROM {LOADED}), (SELECT count(*) FROM ({rows}))").fetchone()
        state.left_out[OLDER] += total - kept
        for batch in database.cursor().execute(rows).to_arrow_reader(BATCH_ROWS):
            yield pa.Table.from_batches([batch])

    def _key_expressions(self, file: str, names: Sequence[str], shape: "pa.Schema") -> list[str]:
        """SQL of the values of the table's key."""
        types = projection.types_of(shape, [name for name in shape.names if name != ROW])
        source = self.source.model_copy(update={"join": ()})
        found = projection.project(self.declaration, source, self.table, file, names, types).expressions
        return self._checked([found[key] for key in self.table.key if key in found])

    def _checked(self, keys: list[str]) -> list[str]:
        """The keys; DataError E141 where there is none."""
        if not keys:
            message = f"{self.table.name}: rows without {' and '.join(self.table.key)} have no key to be the latest of"
            place = Location(file=", ".join(path.name for path in self.paths[:3]))
            raise DataError("E141", message, remedy="Declare where the key comes from, or leave `latest` out.", place=place)
        return keys

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
