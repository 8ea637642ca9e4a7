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
from lodestar.data.declaration.sources import DeclaredTable
from lodestar.data.readers.source import Source
from lodestar.errors import DataError, Location

MAX_FILES = 100_000


def open_declared(declaration: Declaration, root: Path, file: str, is_ingested: Callable[[Path], bool] = lambda _: False) -> DataSet:
    """The dataset that a declaration, from the file called `file`, makes of the files below the folder `root`.

    Files for which `is_ingested` holds are skipped where rows need no others. DataError E142 where a name or wildcard matches no file; a
    table of a public dataset whose files are absent is left out, and said so.
    """
    find = partial(_find, root, file)
    tables: dict[str, list[DeclaredTable]] = {}
    notes: list[str] = []
    paths: list[Path] = []
    for table in schema.TABLES.values():
        for source in declaration.sources(table):
            patterns = source.files or (f"{table.name}.*", f"{table.name}/**/*")
            is_optional = declaration.recognise is not None and table is not schema.EVENTS
            found = _matches(root, file, patterns)
            if not found and is_optional:
                notes.append(f"{table.name}: there is no {' or '.join(patterns)}, and so no such rows")
                continue
            found = found or find(patterns)
            declared = DeclaredTable(declaration=declaration, source=source, table=table, root=root, paths=tuple(found), find=find)
            tables.setdefault(table.name, []).append(declared)
            paths += [*found, *_others(source, find)]
    is_wanted = {path: not is_ingested(path) for path in dict.fromkeys(paths)}
    opened = {
        name: partial(_open, found, is_wanted) for name, found in tables.items() if any(is_wanted[p] for one in found for p in one.paths)
    }
    return DataSet(
        tables=dict(sorted(opened.items(), key=lambda pair: pair[0] != schema.EVENTS.name)),
        paths=tuple(is_wanted),
        order_only=any(order_of(declaration, source) for source in declaration.events),
        notes=tuple(notes),
        feedback=feedback_of(declaration),
        outliers=outlier_rules(declaration),
    )


def _open(declared: Sequence[DeclaredTable], is_wanted: dict[Path, bool]) -> list[Source]:
    """Sources of a table; those that need all their rows at once are read whole if any of their files is wanted."""
    return [source for one in declared for source in one.sources(lambda path: is_wanted[path])]


def _others(source: TableSource, find: Callable[[Sequence[str]], list[Path]]) -> list[Path]:
    """Files that rows are joined to, and trees."""
    named = [join.files for join in source.join] + [column.parents.files for column in source.column_sources.values() if column.parents]
    return [path for files in named for path in find(files)]


def _find(root: Path, file: str, patterns: Sequence[str]) -> list[Path]:
    """The files that names or wildcards match, sorted; DataError E142 for one that matches none."""
    found: list[Path] = []
    for pattern in patterns:
        matches = _matches(root, file, (pattern,))
        if not matches:
            there = ", ".join(sorted(path.name for path in root.iterdir() if not path.name.startswith("."))[:20])
            raise DataError(
                "E142",
                f"no file matches {pattern}; the folder has {there or 'no files'}",
                remedy="Correct `files` in the declaration.",
                place=Location(file=file, value=pattern),
            )
        found += matches
    return list(dict.fromkeys(found))


def _matches(root: Path, file: str, patterns: Sequence[str]) -> list[Path]:
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
                    "E142", f"more than {MAX_FILES:,} files match", remedy="Name fewer.", place=Location(file=file, value=pattern)
                )
    return sorted(found)
