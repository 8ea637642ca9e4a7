"""Which tables lie at a path: one file of events, a folder of the contract's tables, or a known data set."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from lodestar import schema
from lodestar.data import offences
from lodestar.data.dataset import DataSet
from lodestar.data.datasets import find
from lodestar.data.readers import SUFFIXES, read
from lodestar.data.source import Source
from lodestar.errors import UsageError

Open = Callable[[], Source]


def opened(path: Path, mapping: Mapping[str, str]) -> DataSet:
    """What to read, events first; UsageError where there is nothing that can be."""
    if path.is_file():
        return _tables({schema.EVENTS.name: path}, mapping)
    if not path.is_dir():
        raise UsageError(f"no file or folder {path}; give a folder of tables, a data set's folder or one file of events")
    files = {name: file for name in schema.TABLES if (file := _only(path, name)) is not None}
    if schema.EVENTS.name in files:
        return _tables(files, mapping)
    known = find(path)
    if known is None:
        raise UsageError(
            f"{path} holds neither events ({', '.join(schema.EVENTS.name + suffix for suffix in SUFFIXES)}) nor a known data set"
        )
    if mapping:
        raise UsageError(f"{path.name} is a known data set whose columns are known; leave --map out")
    return known


def _only(folder: Path, name: str) -> Path | None:
    files = [folder / f"{name}{suffix}" for suffix in SUFFIXES if (folder / f"{name}{suffix}").is_file()]
    if len(files) > 1:
        raise UsageError(f"{folder} holds the table {name} more than once: {', '.join(file.name for file in files)}; keep one")
    return files[0] if files else None


def _tables(files: Mapping[str, Path], mapping: Mapping[str, str]) -> DataSet:
    tables: dict[str, Open] = {}
    for name in (schema.EVENTS.name, *(name for name in files if name != schema.EVENTS.name)):
        tables[name] = partial(_renamed, files[name], schema.TABLES[name], mapping)
    unused = [ours for ours in mapping if not any(ours in schema.TABLES[name].names for name in files)]
    if unused:
        raise UsageError(f"--map {unused[0]}={mapping[unused[0]]} renames nothing: no table that is given has {unused[0]}")
    return DataSet(tables=tables, files=tuple(files.values()))


def _renamed(path: Path, table: schema.Table, mapping: Mapping[str, str]) -> Source:
    """The file with the contract's names; a mapped name that it does not have is E101, unless our own name stands there."""
    asked = {ours: theirs for ours, theirs in mapping.items() if ours in table.names}
    source = read(path, {*table.names, *asked.values()})
    taken: dict[str, str] = {}
    for ours in table.names:
        theirs = asked.get(ours, ours)
        if theirs in source.rows.column_names:
            taken[ours] = theirs
        elif ours in source.rows.column_names:
            taken[ours] = ours
        elif ours in asked:
            raise offences.unmapped_column(source.file, ours, theirs, source.names)
    rows = source.rows.select(list(taken.values())).rename_columns(list(taken))
    left = [name for name in source.names if name not in taken.values()]
    return replace(source, rows=rows, names=(*rows.column_names, *left))
