"""Which tables lie at a path: files of events, a folder of the contract's tables, or a known data set."""

import glob
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data import landed, manifest, offences
from lodestar.data.dataset import DataSet, Open
from lodestar.data.datasets import find
from lodestar.data.readers import SUFFIXES, read
from lodestar.data.source import Source
from lodestar.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def opened(where: str, mapping: Mapping[str, str], is_taken: Callable[[Path], bool] = lambda _: False) -> DataSet:
    """What to read, events first; UsageError where there is nothing that can be. A wildcard names several files of events.

    Files that are taken already are left out; a known data set is left out as a whole, or not at all.
    """
    source = manifest.snapshot(Path(where)) if Path(where).is_dir() else None
    found = _found(where, mapping, source)
    if isinstance(found, DataSet):
        taken = [is_taken(file) for file in found.files]
        return replace(found, tables={}) if all(taken) else found
    _check_mapping(found, mapping)
    left = {name: kept for name, files in found.items() if (kept := [file for file in files if not is_taken(file)])}
    root = source.folder.path if source and source.manifest else Path(where) if source else Path(where).parent
    order_only = bool(source and source.manifest and source.manifest.order_only)
    notes = landed.misplaced(root) if source and not source.manifest else []
    return replace(_tables(root, left, mapping), order_only=order_only, source=source, notes=tuple(notes))


def _found(where: str, mapping: Mapping[str, str], source: manifest.Snapshot | None) -> DataSet | dict[str, list[Path]]:
    """A known data set, or the files of each table."""
    path = Path(where)
    if not path.exists() and glob.has_magic(where):
        found = [file for file in map(Path, sorted(glob.glob(where, recursive=True))) if _is_wanted(file)]
        if not found:
            raise UsageError(f"no file is called {where}")
        return {schema.EVENTS.name: found}
    if path.is_file():
        return {schema.EVENTS.name: [path]}
    if not path.is_dir():
        raise UsageError(f"no file or folder {path}; give a folder of tables, a data set's folder or files of events")
    files = _contents(path, source)
    known = None if schema.EVENTS.name in files else find(path)
    if known and mapping:
        raise UsageError(f"{path.name} is a known data set whose columns are known; leave --map out")
    if not known and not files:
        raise UsageError(
            f"{path} holds neither events ({', '.join(schema.EVENTS.name + suffix for suffix in SUFFIXES)}, or files of these kinds in a "
            f"folder {schema.EVENTS.name}/) nor a known data set"
        )
    return known or files


def _contents(path: Path, source: manifest.Snapshot | None) -> dict[str, list[Path]]:
    """The files of each table in a folder of tables, or in a folder that has a table's name."""
    if source and source.manifest:
        return _held(source.folder.path, source.manifest)
    files = {name: found for name in schema.TABLES if (found := _files(path, name))}
    return files or (_parts(path, path.name) if path.name in schema.TABLES else {})


def _check_mapping(names: Collection[str], mapping: Mapping[str, str]) -> None:
    unused = [ours for ours in mapping if not any(ours in schema.TABLES[name].names for name in names)]
    if unused:
        raise UsageError(f"--map {unused[0]}={mapping[unused[0]]} renames nothing: no table that is given has {unused[0]}")


def _held(root: Path, held: manifest.Manifest) -> dict[str, list[Path]]:
    return {name: [root / part.path for part in parts] for name, parts in held.parts.items() if held.rows(schema.TABLES[name])}


def _files(folder: Path, name: str) -> list[Path]:
    """The table's one file, or all files in the folder of its name."""
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(files) > 1:
        raise UsageError(f"{folder} holds the table {name} more than once: {', '.join(file.name for file in files)}; keep one")
    within = _parts(folder / name, name).get(name, [])
    if files and within:
        raise UsageError(f"{folder} holds the table {name} more than once: {files[0].name} and {name}/; keep one")
    return files or within


def _parts(folder: Path, name: str) -> dict[str, list[Path]]:
    """The table that a folder holds in parts, if it holds any."""
    found = sorted(file for file in folder.rglob("*") if file.name.endswith(SUFFIXES) and _is_wanted(file))
    return {name: found} if found else {}


def _is_wanted(file: Path) -> bool:
    """A link to somebody's own file is followed, one that stands where a collector's part should be is not."""
    return not file.name.startswith(".") and (landed.is_plain(file) if landed.is_part(file) else file.is_file())


def _tables(root: Path, files: Mapping[str, Sequence[Path]], mapping: Mapping[str, str]) -> DataSet:
    tables: dict[str, Open] = {}
    for name in sorted(files, key=lambda name: name != schema.EVENTS.name):
        tables[name] = _opening(root, files[name], schema.TABLES[name], mapping)
    return DataSet(tables=tables, files=tuple(file for found in files.values() for file in found))


def _opening(root: Path, files: Sequence[Path], table: schema.Table, mapping: Mapping[str, str]) -> Open:
    return lambda: [replace(_renamed(file, table, mapping), file=_shown(root, file)) for file in files]


def _shown(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _renamed(path: Path, table: schema.Table, mapping: Mapping[str, str]) -> Source:
    """The file with the contract's names; a mapped name that it does not have is E101, unless our own name stands there.

    A collector's part bears the contract's names already.
    """
    asked = {ours: theirs for ours, theirs in mapping.items() if ours in table.names and not landed.is_part(path)}
    source = read(path, {*table.names, *asked.values()})
    taken: dict[str, str] = {}
    for ours in table.names:
        theirs = asked.get(ours, ours)
        if theirs in source.columns:
            taken[ours] = theirs
        elif ours in source.columns:
            taken[ours] = ours
        elif ours in asked:
            raise offences.unmapped_column(source.file, ours, theirs, source.names)
    left = [name for name in source.names if name not in taken.values()]

    def batches() -> "Iterator[pa.Table]":
        return (rows.select(list(taken.values())).rename_columns(list(taken)) for rows in source.batches())

    inexact = lambda ours: source.inexact(taken[ours])  # noqa: E731
    return replace(source, batches=batches, columns=tuple(taken), names=(*taken, *left), inexact=inexact)
