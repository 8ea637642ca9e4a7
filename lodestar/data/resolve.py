"""Resolve a path to tables: files of events, a folder of the contract's tables, or the folder of a public data set."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.data.address import Address
from lodestar.data.contract import row_errors
from lodestar.data.contract.rules import CellOptions
from lodestar.data.dataset import DataSet, Open
from lodestar.data.datasets.datasets import open_dataset
from lodestar.data.datasets.recognition import Recognised, data_files, recognise_files
from lodestar.data.declaration.model import FILE as DECLARATION
from lodestar.data.declaration.model import Declaration
from lodestar.data.declaration.parse import read as read_declaration
from lodestar.data.declaration.relations import options_of
from lodestar.data.describe.description import Given
from lodestar.data.describe.plain import described_dataset
from lodestar.data.files import Files, find_files
from lodestar.data.readers import collector_parts, table_files
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


def resolve_tables(
    path: str,
    mapping: Mapping[str, str],
    is_ingested: Callable[[Path], bool] = lambda _: False,
    *,
    time_zone: str = "",
    address: str = "",
) -> DataSet:
    """Resolve a path to the tables to read, events first; a wildcard names several files of events.

    Files for which `is_ingested` holds are skipped; of a public dataset that code reads, only all at once. `mapping` is column names,
    ours to theirs, `time_zone` the zone of times without an offset, `address` the path as it was given, if `path` is a copy of what is
    there. Of files in another shape than the contract's what is sure is used. UsageError where there is nothing to read, where a mapping
    applies to no table, and for a zone beside a declaration; DataError for what a person must decide.
    """
    if declared := _declared(Path(path), mapping, is_ingested, address):
        if time_zone:
            raise UsageError(f'a declaration says how times are read; leave --time-zone out, and write there: time_zone = "{time_zone}"')
        return declared
    snapshot = manifest.snapshot(Path(path)) if Path(path).is_dir() else None
    if snapshot and snapshot.manifest:
        return _ingested_tables(snapshot, mapping, is_ingested, time_zone)
    found = find_files(path)
    if known := _recognised(found, mapping, time_zone):
        return _open_known(known, found, address or path, is_ingested)
    _check_mapping(found.named if found.has_events else schema.TABLES, mapping)
    new = {name: kept for name, paths in found.named.items() if (kept := tuple(path for path in paths if not is_ingested(path)))}
    notes = tuple(collector_parts.misplaced_parts(found.root)) if found.is_folder else ()
    if new or found.others:
        given = Given(mapping=mapping, time_zone=time_zone)
        described = described_dataset(replace(found, named=new if found.has_events else found.named), given, is_ingested, address or path)
        if described:
            return replace(described, notes=(*notes, *described.notes))
    if not found.named:
        raise _nothing(found.root)
    return DataSet(
        tables=_tables(found.root, new, mapping, CellOptions(time_zone=time_zone)),
        paths=tuple(path for paths in new.values() for path in paths),
        snapshot=snapshot,
        notes=notes,
    )


def input_paths(path: str, mapping: Mapping[str, str], address: str) -> tuple[Path, ...]:
    """The files at a path that an ingest may read, by names alone: a declaration's, or all that there are."""
    if declared := _declared(Path(path), mapping, lambda _: False, address):
        return declared.paths
    snapshot = manifest.snapshot(Path(path)) if Path(path).is_dir() else None
    if snapshot and snapshot.manifest:
        return _ingested_tables(snapshot, mapping, lambda _: False, "").paths
    found = find_files(path)
    return tuple(data_files(found.root)) if found.is_folder else found.named[schema.EVENTS.name]


def _ingested_tables(
    snapshot: manifest.Snapshot, mapping: Mapping[str, str], is_ingested: Callable[[Path], bool], time_zone: str
) -> DataSet:
    """The tables of an ingested folder."""
    listed, root = snapshot.manifest, snapshot.folder.path
    assert listed is not None
    parts = {name: [root / part.path for part in parts] for name, parts in listed.parts.items() if listed.rows(schema.TABLES[name])}
    _check_mapping(parts, mapping)
    new = {name: kept for name, paths in parts.items() if (kept := [path for path in paths if not is_ingested(path)])}
    return DataSet(
        tables=_tables(root, new, mapping, CellOptions(time_zone=time_zone)),
        paths=tuple(path for paths in new.values() for path in paths),
        order_only=listed.order_only,
        feedback=listed.feedback,
        snapshot=snapshot,
    )


def _recognised(files: Files, mapping: Mapping[str, str], time_zone: str) -> Recognised | None:
    """The public dataset that files are, None for the contract's own tables and for what is not known.

    UsageError for a mapping or a time zone beside a known dataset; beside files of events a mapping says what they are.
    """
    if files.has_events and mapping:
        return None
    known = recognise_files(files)
    if known and mapping:
        raise UsageError(f"{files.root.name} is a known data set whose columns are known; leave --map out")
    if known and time_zone:
        raise UsageError(f"{files.root.name} is a known data set whose times are known; leave --time-zone out")
    return known


def _open_known(known: Recognised, files: Files, address: str, is_ingested: Callable[[Path], bool]) -> DataSet:
    """The tables of a known dataset, with notes on what it was recognised by and which files are not read.

    DataError E175 where its events are Python dictionaries, which are only read where a person declares them.
    """
    describe = command(["lodestar", "data", "describe", address])
    title = known.declaration.about.title
    if any(options_of(source, known.declaration).format == PYTHON_LITERAL for source in known.declaration.events):
        message = f"the lines are Python dictionaries, and not JSON objects; the files are recognised as {title}"
        remedy = f'Declare format = "{PYTHON_LITERAL}", as `{describe} > {DECLARATION}` writes it.'
        raise DataError("E175", message, remedy=remedy, place=Location(file=known.used[0], line=1))
    dataset = open_dataset(known.declaration, files.root, "", is_ingested)
    others = [files.name_of(path) for path in (data_files(files.root) if files.is_folder else ()) if path not in dataset.paths]
    notes = [f"recognised as {title} by {shortened(known.used)}; its declaration: {describe}"]
    if others:
        notes.append(f"files that are not read: {shortened(others)}")
    return replace(dataset, notes=(*notes, *dataset.notes))


def _nothing(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} holds neither events nor a known data set: give a file of events, or name it {schema.EVENTS.name}.csv, .jsonl or "
        f".parquet there, or put such files into a folder {schema.EVENTS.name}/"
    )


def _tables(root: Path, paths: Mapping[str, Sequence[Path]], mapping: Mapping[str, str], cells: CellOptions) -> dict[str, Open]:
    """Functions that open the sources of each table, events first."""
    ordered = sorted(paths, key=lambda name: name != schema.EVENTS.name)
    return {name: partial(_sources, root, paths[name], schema.TABLES[name], mapping, cells) for name in ordered}


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


def _declared(path: Path, mapping: Mapping[str, str], is_ingested: Callable[[Path], bool], address: str) -> DataSet | None:
    """The dataset that a declaration makes of its folder's files: of the file itself, or of the one in a folder; None without one.

    An empty declaration in a folder is none: a shell makes it before what writes it begins. UsageError for a mapping beside it; DataError
    E145 where its files were ingested before, under another declaration.
    """
    file = path / DECLARATION if path.is_dir() else path
    if file.suffix != ".toml" or not file.is_file() or (path.is_dir() and ((path / manifest.FILE).is_file() or not file.stat().st_size)):
        return None
    if mapping:
        ours, theirs = next(iter(mapping.items()))
        raise UsageError(f"{file.name} declares the columns; leave --map out, and write there: events.{ours} = {json.dumps(theirs)}")
    declaration = read_declaration(file)
    dataset = open_dataset(declaration, _folder(declaration, file, address), file.name, is_ingested)
    if not is_ingested(file) and any(is_ingested(path) for path in dataset.paths):
        raise DataError(
            "E145",
            "the declaration is not the one by which its files were ingested here",
            remedy="Ingest into a new folder with --output.",
            place=Location(file=file.name),
        )
    return replace(dataset, paths=(*dataset.paths, file))


def _folder(declaration: Declaration, file: Path, address: str) -> Path:
    """The folder of a declaration's files; DataError E142 where it is not there, or a bucket's declaration names another than its own."""
    folder, place = file.parent / declaration.folder, Location(file=file.name, value=declaration.folder)
    if declaration.folder and storage.is_remote(address):
        remedy = "Put it beside the files, without `folder`."
        raise DataError("E142", "a declaration in a bucket names another folder than its own", remedy=remedy, place=place)
    if not folder.is_dir():
        raise DataError("E142", "there is no folder of the files", remedy="Correct `folder` in the declaration.", place=place)
    return folder


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
