"""The dataset of a declaration: its files found below a folder, as tables whose sources are opened on demand."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from lodestar import schema
from lodestar.data.dataset import DataSet
from lodestar.data.declaration.model import Declaration, TableSource
from lodestar.data.declaration.parse import feedback_of, outlier_rules
from lodestar.data.declaration.projection import order_of
from lodestar.data.declaration.recognition import fits, heads
from lodestar.data.declaration.relations import Find
from lodestar.data.declaration.sources import DeclaredTable
from lodestar.data.readers.source import Source
from lodestar.errors import DataError, Location

MAX_FILES = 100_000


def open_declared(declaration: Declaration, root: Path, file: str, is_ingested: Callable[[Path], bool] = lambda _: False) -> DataSet:
    """The dataset that a declaration, from the file called `file`, makes of the files below the folder `root`.

    Files for which `is_ingested` holds are skipped where rows need no others. DataError E142 where a name or wildcard matches no file; an
    optional source of a public dataset whose files are absent, or have another form, is left out.
    """
    tables = _declared_tables(declaration, root, file)
    declared = [one for found in tables.values() for one in found]
    paths = [path for one in declared for path in (*one.paths, *other_files(one.source, one.find))]
    is_wanted = {path: not is_ingested(path) for path in dict.fromkeys(paths)}
    opened = {
        name: partial(_open, found, is_wanted) for name, found in tables.items() if any(is_wanted[p] for one in found for p in one.paths)
    }
    absent = [table for table in schema.TABLES.values() if declaration.sources(table) and table.name not in tables]
    return DataSet(
        tables=dict(sorted(opened.items(), key=lambda pair: pair[0] != schema.EVENTS.name)),
        paths=tuple(is_wanted),
        order_only=any(order_of(declaration, one.source) for one in tables.get(schema.EVENTS.name, ())),
        notes=tuple(f"there are no files of {table.name}: {listed_files(declaration, table)}" for table in absent),
        feedback=feedback_of(declaration),
        outliers=outlier_rules(declaration),
    )


def _declared_tables(declaration: Declaration, root: Path, file: str) -> dict[str, list[DeclaredTable]]:
    """The sources of each table that have files."""
    matches = partial(matching_files, root, file)
    tables: dict[str, list[DeclaredTable]] = {}
    with heads() as beginnings:
        for table in schema.TABLES.values():
            for source in declaration.sources(table):
                find = partial(_find, root, file) if source.recognise is None else matches
                found = find(source.files) if source.files else matches((f"{table.name}.*", f"{table.name}/**/*"))
                if source.recognise and source.recognise.optional:
                    # Of an object in a bucket the name alone is known.
                    found = [path for path in found if not path.stat().st_size or fits(declaration, source, path, beginnings)]
                elif not found:
                    raise _no_file(root, file, source.files or (f"{table.name}.*",))
                if found:
                    kept = without_absent_files(source, matches)
                    declared = DeclaredTable(declaration=declaration, source=kept, table=table, root=root, paths=tuple(found), find=find)
                    tables.setdefault(table.name, []).append(declared)
    return tables


def without_absent_files(source: TableSource, matches: Find) -> TableSource:
    """The source without optional joins, and without trees of a public dataset, whose files are absent."""
    joins = tuple(join for join in source.join if not join.optional or matches(join.files))
    columns = {
        name: column.model_copy(update={"parents": None})
        if column.parents and source.recognise and not matches(column.parents.files)
        else column
        for name, column in source.column_sources.items()
    }
    return source.model_copy(update={"join": joins, "column_sources": columns})


def listed_files(declaration: Declaration, table: schema.Table) -> str:
    """The names and wildcards of a table's files, in words."""
    return " or ".join(dict.fromkeys(name for source in declaration.sources(table) for name in source.files))


def _open(declared: Sequence[DeclaredTable], is_wanted: dict[Path, bool]) -> list[Source]:
    """Sources of a table; those that need all their rows at once are read whole if any of their files is wanted."""
    return [source for one in declared for source in one.sources(lambda path: is_wanted[path])]


def other_files(source: TableSource, find: Find) -> list[Path]:
    """Files that rows are joined to, and trees."""
    named = [join.files for join in source.join] + [column.parents.files for column in source.column_sources.values() if column.parents]
    return [path for files in named for path in find(files)]


def _find(root: Path, file: str, patterns: Sequence[str]) -> list[Path]:
    """The files that names or wildcards match, in their order; DataError E142 for one that matches none."""
    found: list[Path] = []
    for pattern in patterns:
        matches = matching_files(root, file, (pattern,))
        if not matches:
            raise _no_file(root, file, (pattern,))
        found += matches
    return list(dict.fromkeys(found))


def _no_file(root: Path, file: str, patterns: Sequence[str]) -> DataError:
    there = ", ".join(sorted(path.name for path in root.iterdir() if not path.name.startswith("."))[:20])
    message = f"no file matches {' or '.join(patterns)}; the folder has {there or 'no files'}"
    place = Location(file=file, value=patterns[0])
    return DataError("E142", message, remedy="Correct `files` in the declaration.", place=place)


def matching_files(root: Path, file: str, patterns: Sequence[str]) -> list[Path]:
    """Files below the folder that match any of the patterns, sorted, without hidden ones; DataError E142 for a pattern that leaves it."""
    found: set[Path] = set()
    for pattern in patterns:
        pure = PurePosixPath(pattern)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in pattern:
            raise DataError(
                "E142",
                "a file is named outside the declaration's folder",
                remedy="Put the declaration beside the files.",
                place=Location(file=file, value=pattern),
            )
        for path in root.glob(pattern):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(part.startswith((".", "_")) for part in parts) and os.fspath(path) != os.fspath(root / file):
                found.add(path)
            if len(found) > MAX_FILES:
                raise DataError(
                    "E142", f"more than {MAX_FILES:,} files match", remedy="Name fewer files.", place=Location(file=file, value=pattern)
                )
    return sorted(found)
