"""Resolve a path to tables: files of events, a folder of the contract's tables, or the folder of a public data set."""

import glob
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data.contract import row_errors
from lodestar.data.datasets.dataset import DataSet
from lodestar.data.datasets.datasets import find
from lodestar.data.readers import collector_parts
from lodestar.data.readers.readers import SUFFIXES, read
from lodestar.data.readers.source import Source
from lodestar.data.tables import manifest
from lodestar.errors import UsageError
from lodestar.process.safe_text import shorten

if TYPE_CHECKING:
    import pyarrow as pa


def resolve_tables(path: str, mapping: Mapping[str, str], is_ingested: Callable[[Path], bool] = lambda _: False) -> DataSet:
    """Resolve a path to the tables to read, events first; a wildcard names several files of events.

    Files for which `is_ingested` holds are skipped; a public data set is skipped only if all its files are. `mapping` is column names,
    ours to theirs. UsageError where there is nothing to read or a mapping applies to no table.
    """
    snapshot = manifest.snapshot(Path(path)) if Path(path).is_dir() else None
    found = _find_paths(path, mapping, snapshot)
    if isinstance(found, DataSet):
        is_known = [is_ingested(path) for path in found.paths]
        return replace(found, tables={}) if all(is_known) else found
    _check_mapping(found, mapping)
    new_paths = {name: kept for name, paths in found.items() if (kept := [path for path in paths if not is_ingested(path)])}
    root = snapshot.folder.path if snapshot and snapshot.manifest else Path(path) if snapshot else Path(path).parent
    return DataSet(
        tables={
            name: partial(_sources, root, new_paths[name], schema.TABLES[name], mapping)
            for name in sorted(new_paths, key=lambda name: name != schema.EVENTS.name)
        },
        paths=tuple(path for paths in new_paths.values() for path in paths),
        order_only=bool(snapshot and snapshot.manifest and snapshot.manifest.order_only),
        snapshot=snapshot,
        notes=tuple(collector_parts.misplaced_parts(root)) if snapshot and not snapshot.manifest else (),
    )


def _find_paths(path: str, mapping: Mapping[str, str], snapshot: manifest.Snapshot | None) -> DataSet | dict[str, list[Path]]:
    """The public data set at a path, or the paths of each table's files."""
    folder = Path(path)
    if paths := find_files(path):
        return {schema.EVENTS.name: paths}
    paths_by_table = _paths_by_table(folder, snapshot)
    dataset = None if schema.EVENTS.name in paths_by_table else find(folder)
    if dataset and mapping:
        raise UsageError(f"{folder.name} is a known data set whose columns are known; leave --map out", code="E303")
    if not dataset and not paths_by_table:
        raise UsageError(
            f"{folder} holds neither events nor a known data set: give a file of events, or name it {schema.EVENTS.name}.csv, .jsonl or "
            f".parquet there, or put such files into a folder {schema.EVENTS.name}/",
            code="E306",
        )
    return dataset or paths_by_table


def find_files(path: str) -> list[Path]:
    """The file at a path, or the files that match a wildcard; empty for a folder. UsageError E302 where there is nothing of these."""
    if Path(path).is_file():
        return [Path(path)]
    if Path(path).is_dir():
        return []
    if glob.has_magic(path) and (paths := [file for file in map(Path, sorted(glob.glob(path, recursive=True))) if _is_wanted(file)]):
        return paths
    fault = "is neither a file nor a folder" if Path(path).exists() else "does not exist"
    fault = "matches no file" if glob.has_magic(path) and not Path(path).exists() else fault
    raise UsageError(f"{shorten(path)} {fault}: give a folder of tables, a data set's folder or files of events", code="E302")


def _paths_by_table(folder: Path, snapshot: manifest.Snapshot | None) -> dict[str, list[Path]]:
    """Paths of each table's files in a folder of tables, or in a folder with a table's name."""
    if snapshot and snapshot.manifest:
        root, listed = snapshot.folder.path, snapshot.manifest
        return {name: [root / part.path for part in parts] for name, parts in listed.parts.items() if listed.rows(schema.TABLES[name])}
    paths_by_table = {name: paths for name in schema.TABLES if (paths := _paths(folder, name))}
    return paths_by_table or (_parts(folder, folder.name) if folder.name in schema.TABLES else {})


def _check_mapping(names: Collection[str], mapping: Mapping[str, str]) -> None:
    unused = [ours for ours in mapping if not any(ours in schema.TABLES[name].names for name in names)]
    if unused:
        raise UsageError(f"--map {unused[0]}={mapping[unused[0]]} renames nothing: no table that is given has {unused[0]}", code="E303")


def _paths(folder: Path, name: str) -> list[Path]:
    """A table's single file, or all files in the folder of its name; UsageError where there are both."""
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(paths) > 1:
        raise UsageError(f"{folder} holds the table {name} more than once: {', '.join(path.name for path in paths)}; keep one", code="E307")
    within = _parts(folder / name, name).get(name, [])
    if paths and within:
        raise UsageError(f"{folder} holds the table {name} more than once: {paths[0].name} and {name}/; keep one", code="E307")
    return paths or within


def _parts(folder: Path, name: str) -> dict[str, list[Path]]:
    """All data files below a folder, sorted, as parts of a table; empty where there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.name.endswith(SUFFIXES) and _is_wanted(path))
    return {name: paths} if paths else {}


def _is_wanted(path: Path) -> bool:
    """Whether a file is read: no hidden file, and no symbolic link in place of a collector's part (other links are followed)."""
    return not path.name.startswith(".") and (collector_parts.is_plain(path) if collector_parts.is_part(path) else path.is_file())


def _sources(root: Path, paths: Sequence[Path], table: schema.Table, mapping: Mapping[str, str]) -> list[Source]:
    """A source of each file, named relative to the folder `root`."""
    names = [path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name for path in paths]
    return [replace(_mapped_source(path, table, mapping), file=name) for path, name in zip(paths, names, strict=True)]


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
        return (batch.select(list(theirs_by_ours.values())).rename_columns(list(theirs_by_ours)) for batch in source.batches())

    inexact = lambda ours: source.inexact(theirs_by_ours[ours])  # noqa: E731
    return replace(source, batches=batches, columns=tuple(theirs_by_ours), names=(*theirs_by_ours, *unmapped), inexact=inexact)
