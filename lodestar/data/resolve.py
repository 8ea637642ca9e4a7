"""Resolve a path to tables: files of events, a folder of the contract's tables, or the folder of a public data set."""

import glob
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data.contract import row_errors
from lodestar.data.datasets.dataset import DataSet, Open
from lodestar.data.datasets.datasets import find
from lodestar.data.readers import collector_parts
from lodestar.data.readers.readers import SUFFIXES, read
from lodestar.data.readers.source import Source
from lodestar.data.tables import manifest
from lodestar.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def resolve_tables(where: str, mapping: Mapping[str, str], is_ingested: Callable[[Path], bool] = lambda _: False) -> DataSet:
    """Resolve a path to the tables to read, events first; a wildcard names several files of events.

    Files for which `is_ingested` holds are skipped; a public data set is skipped only if all its files are. `mapping` is column names,
    ours to theirs. UsageError where there is nothing to read or a mapping applies to no table.
    """
    source = manifest.snapshot(Path(where)) if Path(where).is_dir() else None
    found = _table_files(where, mapping, source)
    if isinstance(found, DataSet):
        is_known = [is_ingested(file) for file in found.files]
        return replace(found, tables={}) if all(is_known) else found
    _check_mapping(found, mapping)
    new_files = {name: kept for name, files in found.items() if (kept := [file for file in files if not is_ingested(file)])}
    root = source.folder.path if source and source.manifest else Path(where) if source else Path(where).parent
    order_only = bool(source and source.manifest and source.manifest.order_only)
    notes = collector_parts.misplaced_parts(root) if source and not source.manifest else []
    return replace(_tables(root, new_files, mapping), order_only=order_only, source=source, notes=tuple(notes))


def _table_files(where: str, mapping: Mapping[str, str], source: manifest.Snapshot | None) -> DataSet | dict[str, list[Path]]:
    """The public data set at a path, or the files of each table."""
    path = Path(where)
    if not path.exists() and glob.has_magic(where):
        found = [file for file in map(Path, sorted(glob.glob(where, recursive=True))) if _is_wanted(file)]
        if not found:
            raise UsageError(f"no file matches {where}")
        return {schema.EVENTS.name: found}
    if path.is_file():
        return {schema.EVENTS.name: [path]}
    if not path.is_dir():
        raise UsageError(f"no file or folder {path}; give a folder of tables, a data set's folder or files of events")
    files = _contents(path, source)
    dataset = None if schema.EVENTS.name in files else find(path)
    if dataset and mapping:
        raise UsageError(f"{path.name} is a known data set whose columns are known; leave --map out")
    if not dataset and not files:
        raise UsageError(
            f"{path} holds neither events ({', '.join(schema.EVENTS.name + suffix for suffix in SUFFIXES)}, or files of these kinds in a "
            f"folder {schema.EVENTS.name}/) nor a known data set"
        )
    return dataset or files


def _contents(path: Path, source: manifest.Snapshot | None) -> dict[str, list[Path]]:
    """The files of each table in a folder of tables, or in a folder with a table's name."""
    if source and source.manifest:
        return _stored_files(source.folder.path, source.manifest)
    files = {name: found for name in schema.TABLES if (found := _files(path, name))}
    return files or (_parts(path, path.name) if path.name in schema.TABLES else {})


def _check_mapping(names: Collection[str], mapping: Mapping[str, str]) -> None:
    unused = [ours for ours in mapping if not any(ours in schema.TABLES[name].names for name in names)]
    if unused:
        raise UsageError(f"--map {unused[0]}={mapping[unused[0]]} renames nothing: no table that is given has {unused[0]}")


def _stored_files(root: Path, held: manifest.Manifest) -> dict[str, list[Path]]:
    return {name: [root / part.path for part in parts] for name, parts in held.parts.items() if held.rows(schema.TABLES[name])}


def _files(folder: Path, name: str) -> list[Path]:
    """A table's single file, or all files in the folder of its name; UsageError where there are both."""
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(files) > 1:
        raise UsageError(f"{folder} holds the table {name} more than once: {', '.join(file.name for file in files)}; keep one")
    within = _parts(folder / name, name).get(name, [])
    if files and within:
        raise UsageError(f"{folder} holds the table {name} more than once: {files[0].name} and {name}/; keep one")
    return files or within


def _parts(folder: Path, name: str) -> dict[str, list[Path]]:
    """All data files below a folder, sorted, as parts of a table; empty where there is none."""
    found = sorted(file for file in folder.rglob("*") if file.name.endswith(SUFFIXES) and _is_wanted(file))
    return {name: found} if found else {}


def _is_wanted(file: Path) -> bool:
    """Whether a file is read: no hidden file, and no symbolic link in place of a collector's part (other links are followed)."""
    return not file.name.startswith(".") and (collector_parts.is_plain(file) if collector_parts.is_part(file) else file.is_file())


def _tables(root: Path, files: Mapping[str, Sequence[Path]], mapping: Mapping[str, str]) -> DataSet:
    tables: dict[str, Open] = {}
    for name in sorted(files, key=lambda name: name != schema.EVENTS.name):
        tables[name] = _opening(root, files[name], schema.TABLES[name], mapping)
    return DataSet(tables=tables, files=tuple(file for found in files.values() for file in found))


def _opening(root: Path, files: Sequence[Path], table: schema.Table, mapping: Mapping[str, str]) -> Open:
    return lambda: [replace(_mapped_source(file, table, mapping), file=_display_name(root, file)) for file in files]


def _display_name(root: Path, file: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name


def _mapped_source(path: Path, table: schema.Table, mapping: Mapping[str, str]) -> Source:
    """The file as a source with the contract's column names; E101 for a mapped column it lacks, unless it has our name.

    Mappings do not apply to a collector's part, which has the contract's names already.
    """
    renames = {ours: theirs for ours, theirs in mapping.items() if ours in table.names and not collector_parts.is_part(path)}
    source = read(path, {*table.names, *renames.values()})
    theirs_by_ours: dict[str, str] = {}
    for ours in table.names:
        theirs = renames.get(ours, ours)
        if theirs in source.columns:
            theirs_by_ours[ours] = theirs
        elif ours in source.columns:
            theirs_by_ours[ours] = ours
        elif ours in renames:
            raise row_errors.unmapped_column(source.file, ours, theirs, source.names)
    unmapped = [name for name in source.names if name not in theirs_by_ours.values()]

    def batches() -> "Iterator[pa.Table]":
        return (rows.select(list(theirs_by_ours.values())).rename_columns(list(theirs_by_ours)) for rows in source.batches())

    inexact = lambda ours: source.inexact(theirs_by_ours[ours])  # noqa: E731
    return replace(source, batches=batches, columns=tuple(theirs_by_ours), names=(*theirs_by_ours, *unmapped), inexact=inexact)
