"""The files at a path: of events alone, or a folder's by the contract's tables that they are named for, and others that may be tables."""

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lodestar import schema
from lodestar.data.declaration.model import FILE as DECLARATION
from lodestar.data.readers import collector_parts, decompression, table_files
from lodestar.data.readers.file_names import has_suffix, stem
from lodestar.data.tables import manifest, tables
from lodestar.errors import UsageError

# Suffixes that data sets have beside those that say a format.
OTHER_SUFFIXES = (".log", ".inter", ".user", ".item")
INTERACTIONS = "interactions"  # the other name of events
PLAIN_TEXT = (".txt", ".log")  # as a rule no data where others are
MAX_OTHERS = 10_000
_NOT_DATA = (manifest.FILE, tables.REPORT, DECLARATION)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Files below the folder `root`: `named` by the table whose name they have, `others` that may be a table by their columns.

    `is_folder`: the path is a folder, whose files have roles.
    """

    root: Path
    named: Mapping[str, tuple[Path, ...]]
    others: tuple[Path, ...] = ()
    is_folder: bool = False

    @property
    def has_events(self) -> bool:
        """Whether files are named for events."""
        return schema.EVENTS.name in self.named

    def name_of(self, path: Path) -> str:
        """A file's name below the root."""
        return path.relative_to(self.root).as_posix()


def find_files(path: str) -> Files:
    """The files at a path; a wildcard names several files of events. UsageError where there is none, or a table comes more than once."""
    if not Path(path).exists() and glob.has_magic(path):
        root = _folder_above(path)
        found = tuple(file for file in map(Path, sorted(glob.glob(path, recursive=True))) if table_files.is_wanted(file, root))
        if not found:
            raise UsageError(f"no file matches {path}")
        return Files(root=root, named={schema.EVENTS.name: found})
    if Path(path).is_file():
        return Files(root=Path(path).parent, named={schema.EVENTS.name: (Path(path),)})
    folder = Path(path)
    if not folder.is_dir():
        raise UsageError(f"no file or folder {folder}; give a folder of tables, a data set's folder or files of events")
    named = {name: tuple(paths) for name in schema.TABLES if (paths := table_files.files_of(folder, name))}
    if schema.EVENTS.name not in named and (paths := table_files.files_of(folder, INTERACTIONS)):
        named[schema.EVENTS.name] = tuple(paths)
    if named:
        return Files(root=folder, named=named, others=_others(folder, named.values()), is_folder=True)
    name = stem(folder.name)
    if name not in schema.TABLES and has_suffix(folder.name):  # Spark gives a folder the name of a file
        name = schema.EVENTS.name
    if name in schema.TABLES:
        return Files(root=folder, named={name: tuple(paths)} if (paths := table_files.files_below(folder)) else {}, is_folder=True)
    return Files(root=folder, named={}, others=_others(folder, ()), is_folder=True)


def _folder_above(path: str) -> Path:
    """The folder of a file; of a wildcard the one above its first part that is a pattern."""
    folder = Path(path).parent
    return next((above for above in (folder, *folder.parents) if not glob.has_magic(str(above))), folder)


def _others(folder: Path, named: Iterable[tuple[Path, ...]]) -> tuple[Path, ...]:
    """Data files below a folder that have no table's name; texts only where there are no others."""
    given = {path for paths in named for path in paths}
    found = sorted(
        path
        for path in folder.rglob("*")
        if (has_suffix(path.name) or path.name.casefold().endswith(OTHER_SUFFIXES))
        and path not in given
        and path.name not in _NOT_DATA
        and table_files.is_wanted(path, folder)
        and not collector_parts.is_part(path)
    )[:MAX_OTHERS]
    data = [path for path in found if not decompression.without_suffix(path.name).endswith(PLAIN_TEXT)]
    return tuple(data or ([] if given else found))
