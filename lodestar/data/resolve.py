"""Resolve a path to tables: files of events, a folder of the contract's tables, or the folder of a public data set."""

import glob
import json
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data.address import Address
from lodestar.data.contract import row_errors
from lodestar.data.contract.rules import CellOptions
from lodestar.data.dataset import DataSet
from lodestar.data.datasets.datasets import open_dataset
from lodestar.data.datasets.recognition import Recognised, data_files, recognise
from lodestar.data.declaration.model import FILE as DECLARATION
from lodestar.data.declaration.parse import read as read_declaration
from lodestar.data.declaration.recognition import has_contract_columns
from lodestar.data.declaration.relations import options_of
from lodestar.data.readers import collector_parts, table_files
from lodestar.data.readers.file_names import has_suffix, stem
from lodestar.data.readers.options import PYTHON_LITERAL
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source
from lodestar.data.simulator.simulator import NAME as SIMULATOR
from lodestar.data.simulator.simulator import SimulatorConfig, is_simulated, simulate
from lodestar.data.tables import manifest
from lodestar.errors import DataError, Location, UsageError
from lodestar.io import storage
from lodestar.process.safe_text import command
from lodestar.process.suggestions import shortened

if TYPE_CHECKING:
    import pyarrow as pa

INTERACTIONS = "interactions"  # the other name of events


def resolve_tables(
    path: str,
    mapping: Mapping[str, str],
    is_ingested: Callable[[Path], bool] = lambda _: False,
    *,
    time_zone: str = "",
    address: str = "",
) -> DataSet:
    """Resolve a path to the tables to read, events first; a wildcard names several files of events.

    Files for which `is_ingested` holds are skipped; of a public dataset that code reads, only all at once. `mapping` is column names, ours
    to theirs, `time_zone` the zone of times without an offset, `address` the path as a person wrote it. UsageError where there is nothing
    to read, where a mapping applies to no table, and for a zone beside a declaration.
    """
    if declared := _declared(Path(path), mapping, is_ingested):
        if time_zone:
            raise UsageError(f'a declaration says how times are read; leave --time-zone out, and write there: time_zone = "{time_zone}"')
        return declared
    snapshot = manifest.snapshot(Path(path)) if Path(path).is_dir() else None
    found = _find_paths(path, snapshot)
    if not (snapshot and snapshot.manifest) and (known := _recognised(path, mapping, found)):
        if time_zone:
            raise UsageError(f"{Path(path).name} is a known data set whose times are known; leave --time-zone out")
        return _open_known(known, Path(path), address or path, is_ingested)
    if not found:
        remedy = f"name it {schema.EVENTS.name}.csv, .jsonl or .parquet there, or put such files into a folder {schema.EVENTS.name}/"
        raise UsageError(f"{Path(path)} holds neither events nor a known data set: give a file of events, or {remedy}")
    _check_mapping(found, mapping)
    new_paths = {name: kept for name, paths in found.items() if (kept := [path for path in paths if not is_ingested(path)])}
    root = snapshot.folder.path if snapshot and snapshot.manifest else Path(path) if snapshot else _folder_above(path)
    return DataSet(
        tables={
            name: partial(_sources, root, new_paths[name], schema.TABLES[name], mapping, CellOptions(time_zone=time_zone))
            for name in sorted(new_paths, key=lambda name: name != schema.EVENTS.name)
        },
        paths=tuple(path for paths in new_paths.values() for path in paths),
        order_only=bool(snapshot and snapshot.manifest and snapshot.manifest.order_only),
        feedback=snapshot.manifest.feedback if snapshot and snapshot.manifest else None,
        snapshot=snapshot,
        notes=tuple(collector_parts.misplaced_parts(root)) if snapshot and not snapshot.manifest else (),
    )


def _recognised(path: str, mapping: Mapping[str, str], found: Mapping[str, Sequence[Path]]) -> Recognised | None:
    """The public dataset at a path, None for the contract's own tables and for what is not known. `found` are the files by table.

    UsageError for a mapping beside a known dataset; beside files of events it says what they are.
    """
    events = found.get(schema.EVENTS.name, ())
    if events and (mapping or has_contract_columns(events[0])):
        return None
    folder = Path(path)
    root = folder if folder.is_dir() else Path(events[0]).parent
    known = recognise(root, data_files(root) if folder.is_dir() else list(events))
    if known and mapping:
        raise UsageError(f"{folder.name} is a known data set whose columns are known; leave --map out")
    return known


def _open_known(known: Recognised, path: Path, address: str, is_ingested: Callable[[Path], bool]) -> DataSet:
    """The tables of a known dataset, with notes on what it was recognised by and which files are not read.

    DataError E175 where its events are Python dictionaries, which are only read where a person declares them.
    """
    root = path if path.is_dir() else path.parent
    describe = command(["lodestar", "data", "describe", address])
    title = known.declaration.about.title
    if any(options_of(source, known.declaration).format == PYTHON_LITERAL for source in known.declaration.events):
        message = f"the lines are Python dictionaries, and not JSON objects; the files are recognised as {title}"
        target = DECLARATION if storage.is_remote(address) else shlex.quote(str(root / DECLARATION))
        remedy = f'Declare format = "{PYTHON_LITERAL}", as `{describe} > {target}` writes it.'
        raise DataError("E175", message, remedy=remedy, place=Location(file=known.used[0], line=1))
    dataset = open_dataset(known.declaration, root, "", is_ingested)
    others = [file for file in (data_files(root) if path.is_dir() else []) if file not in dataset.paths]
    notes = [f"recognised as {title} by {shortened(known.used)}; its declaration: {describe}"]
    if others:
        notes.append(f"files that are not read: {shortened([file.relative_to(root).as_posix() for file in others])}")
    return replace(dataset, notes=(*notes, *dataset.notes))


def local_path(address: Address, folder: Path, incoming: Path) -> str:
    """A local path of the data: simulated into `folder`, downloaded to `incoming`, or the path itself."""
    if is_simulated(address.path):
        if address.mapping or address.time_zone:
            raise UsageError("the simulator writes the contract's columns and times; leave --map and --time-zone out")
        config, simulated = SimulatorConfig.parse(address.path), folder / SIMULATOR
        simulated.mkdir()
        simulate(config, simulated)
        return str(simulated)
    if not storage.is_remote(address.path):
        return address.path
    prefix, declaration = folder_of(address.path)
    return str(storage.fetch(prefix, incoming) / declaration)


def folder_of(path: str) -> tuple[str, str]:
    """The folder or prefix of the data at a path, and the name of the declaration in it where the path is that of one, else ""."""
    folder, slash, name = path.rpartition("/")
    return (folder, name) if slash and name.endswith(".toml") else (path, "")


def _declared(path: Path, mapping: Mapping[str, str], is_ingested: Callable[[Path], bool]) -> DataSet | None:
    """The dataset that a declaration makes of its folder's files: of the file itself, or of the one in a folder; None without one.

    UsageError for a mapping beside it; DataError E145 where its files were ingested before, under another declaration.
    """
    file = path / DECLARATION if path.is_dir() else path
    if file.suffix != ".toml" or not file.is_file() or (path.is_dir() and (path / manifest.FILE).is_file()):
        return None
    if mapping:
        ours, theirs = next(iter(mapping.items()))
        raise UsageError(f"{file.name} declares the columns; leave --map out, and write there: events.{ours} = {json.dumps(theirs)}")
    declaration = read_declaration(file)
    dataset = open_dataset(declaration, file.parent, file.name, is_ingested)
    if not is_ingested(file) and any(is_ingested(path) for path in dataset.paths):
        raise DataError(
            "E145",
            "the declaration is not the one by which its files were ingested here",
            remedy="Ingest into a new folder with --output.",
            place=Location(file=file.name),
        )
    return replace(dataset, paths=(*dataset.paths, file))


def _find_paths(path: str, snapshot: manifest.Snapshot | None) -> dict[str, list[Path]]:
    """The paths of each table's files at a path; UsageError where there is no such path."""
    folder = Path(path)
    if not folder.exists() and glob.has_magic(path):
        paths = [file for file in map(Path, sorted(glob.glob(path, recursive=True))) if table_files.is_wanted(file, _folder_above(path))]
        if not paths:
            raise UsageError(f"no file matches {path}")
        return {schema.EVENTS.name: paths}
    if folder.is_file():
        return {schema.EVENTS.name: [folder]}
    if not folder.is_dir():
        raise UsageError(f"no file or folder {folder}; give a folder of tables, a data set's folder or files of events")
    return _paths_by_table(folder, snapshot)


def _paths_by_table(folder: Path, snapshot: manifest.Snapshot | None) -> dict[str, list[Path]]:
    """Paths of each table's files in a folder of tables, or in a folder with a table's name."""
    if snapshot and snapshot.manifest:
        root, listed = snapshot.folder.path, snapshot.manifest
        return {name: [root / part.path for part in parts] for name, parts in listed.parts.items() if listed.rows(schema.TABLES[name])}
    found = {name: paths for name in schema.TABLES if (paths := table_files.files_of(folder, name))}
    if schema.EVENTS.name not in found and (paths := table_files.files_of(folder, INTERACTIONS)):
        found[schema.EVENTS.name] = paths
    if found:
        return found
    name = stem(folder.name)
    if name not in schema.TABLES and has_suffix(folder.name):  # Spark gives a folder the name of a file
        name = schema.EVENTS.name
    return {name: paths} if name in schema.TABLES and (paths := table_files.files_below(folder)) else {}


def _folder_above(path: str) -> Path:
    """The folder of a file; of a wildcard the one above its first part that is a pattern."""
    folder = Path(path).parent
    return next((above for above in (folder, *folder.parents) if not glob.has_magic(str(above))), folder)


def _check_mapping(names: Collection[str], mapping: Mapping[str, str]) -> None:
    unused = [ours for ours in mapping if not any(ours in schema.TABLES[name].names for name in names)]
    if unused:
        raise UsageError(f"--map {unused[0]}={mapping[unused[0]]} renames nothing: no table that is given has {unused[0]}")


def _sources(root: Path, paths: Sequence[Path], table: schema.Table, mapping: Mapping[str, str], cells: CellOptions) -> list[Source]:
    """A source of each file, named relative to the folder `root`."""
    names = [path.relative_to(root) if path.is_relative_to(root) else Path(path.name) for path in paths]
    return [replace(_mapped_source(path, name, table, mapping), cells=cells) for path, name in zip(paths, names, strict=True)]


def _mapped_source(path: Path, name: Path, table: schema.Table, mapping: Mapping[str, str]) -> Source:
    """The file as a source with the contract's column names, called `name`; E101 for a mapped column it lacks, unless it has our name.

    Mappings do not apply to a collector's part, which has the contract's names already.
    """
    renames = {ours: theirs for ours, theirs in mapping.items() if ours in table.names and not collector_parts.is_part(path)}
    wanted = {*table.names, *renames.values()}
    source = table_files.with_partitions(read(path, wanted), table_files.partitions(name), wanted)
    source = replace(source, file=name.as_posix())
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
