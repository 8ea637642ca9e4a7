"""Bring data into the contract's tables: read, check, derive what is missing, and say what was done.

The same bytes give the same files, whenever and wherever they are read: nothing that is written depends on the clock or the folder.
Memory does not grow with the rows. A folder that is added to keeps its parts: new rows become new parts, and are in the tables at once
when the manifest names them.
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lodestar import schema, storage
from lodestar.data import address, derive, landed, manifest, merge, notes, parts, tables
from lodestar.data.checks import Checked, check, checked_name
from lodestar.data.conversions import quoted
from lodestar.data.dataset import DataSet
from lodestar.data.layout import opened
from lodestar.data.manifest import Manifest, Part
from lodestar.data.report import Report, TableReport
from lodestar.data.simulator import NAME as SIMULATOR
from lodestar.data.simulator import SimulatorConfig, is_simulated, simulate
from lodestar.data.source import unreadable
from lodestar.errors import DataError, UsageError
from lodestar.private import workspace
from lodestar.progress import Progress

INCOMING = ".incoming"  # what was brought from a bucket, until it is in the tables
MIN_USERS = 5
BATCH_ROWS = 125_000
MEMORY = "250MB"  # of the database; what does not fit goes to its folder


@dataclass(frozen=True, kw_only=True)
class _Work:
    """An ingest under way: `root` is the folder that is added to, with what it held `before`."""

    database: Any
    dataset: DataSet
    root: Path
    before: Manifest
    min_users: int
    checked: dict[str, Checked] = field(default_factory=dict)


def ingest(data: str, target: Path, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """Publish a folder of tables from an address (see `address.parse`); DataError, and nothing written, at the first bad row.

    `data` names a folder of tables, a known data set's folder, files of events (a wildcard names several), `s3://` of those, or
    `simulator:users=300,…`.
    """
    asked = _asked(data, mapping, quarantine)
    with storage.publish_folder(target) as published, tempfile.TemporaryDirectory(dir=published.parent) as work:
        return _ingest(asked, Path(work), published, Manifest(), MIN_USERS, Path(work))


def add(data: str, root: Path, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """Put what is new in the data into a folder of tables, which need not be there yet; files that it has taken in before are skipped.

    Killed anywhere, it leaves the tables as they were; the same again ends as if nothing had happened.
    """
    asked = _asked(data, mapping, quarantine)
    with storage.exclusive(root) as folder:
        storage.make_folder(root)
        before = manifest.read(root) or Manifest()
        with storage.unread(root) as is_unread:
            if is_unread:
                parts.sweep(root, (part for named in before.parts.values() for part in named))
        report = _ingest(asked, folder, root, before, 0, root / INCOMING)
        shutil.rmtree(root / INCOMING, ignore_errors=True)
        return report


def validate(data: str, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """What `ingest` would report or raise, with nothing left behind."""
    with workspace() as folder:
        return ingest(data, folder / "tables", mapping=mapping, quarantine=quarantine)


@dataclass(frozen=True, kw_only=True)
class _Asked(address.Address):
    """Where the data lie, and whether bad rows are set aside."""

    quarantine: bool


def _asked(data: str, mapping: Mapping[str, str] | None, quarantine: bool) -> _Asked:
    asked = address.parse(data)
    return _Asked(path=asked.path, mapping={**asked.mapping, **(mapping or {})}, quarantine=quarantine)


def _ingest(asked: _Asked, folder: Path, root: Path, before: Manifest, min_users: int, incoming: Path) -> Report:
    digests: dict[Path, str] = {}

    def is_taken(path: Path) -> bool:
        try:
            digests[path] = _digest(path)
        except OSError as error:  # nobody may read it, or it is gone
            if landed.is_part(path):
                return False  # it is said where it is read, and tried again by the next ingest
            raise unreadable(path, f"cannot be read ({error.strerror})") from error
        return digests[path] in before.inputs

    dataset = opened(_local(asked, folder, incoming), asked.mapping, is_taken)
    if before.parts and before.order_only != dataset.order_only:
        raise UsageError(f"{root} and the data cannot be one table: only one of the two knows times; use another folder")
    known = sum(digest in before.inputs for digest in digests.values())
    if not dataset.tables:
        nothing = {name: TableReport() for name in schema.TABLES}
        return Report(source=_source(asked), order_only=dataset.order_only, known_files=known, notes=dataset.notes, tables=nothing)
    if schema.EVENTS.name not in {*dataset.tables, *before.parts}:
        raise UsageError(f"{asked.path} holds no events; bring them first, or with the rest")
    inputs = {digest: path.name for path, digest in digests.items()}
    with _database(folder) as database, Progress("ingest", 2 * len(dataset.tables) + 1) as progress:
        work = _Work(database=database, dataset=dataset, root=root, before=before, min_users=min_users)
        _check(work, quarantine=asked.quarantine, progress=progress)
        reports, written = _write(work, progress)
        report = Report(source=_source(asked), order_only=dataset.order_only, known_files=known, notes=dataset.notes, tables=reports)
        storage.put(_json(asdict(report)), str(root / tables.REPORT))
        if asked.quarantine or any(checked.offenders for checked in work.checked.values()):
            _write_quarantine(root / tables.QUARANTINE, work.checked.values())
        named = tuple(sorted(name for name in _named(before) if name not in work.checked))
        after = replace(before, parts=written, inputs={**before.inputs, **inputs}, named_by_events=named, order_only=dataset.order_only)
        manifest.write(root, after)
        progress.advance()
        return report


def _named(before: Manifest) -> Sequence[str]:
    """Tables that may be named by events only; at first, users and items."""
    return before.named_by_events if before.parts else (schema.USERS.name, schema.ITEMS.name)


def _local(asked: address.Address, folder: Path, incoming: Path) -> str:
    if is_simulated(asked.path):
        if asked.mapping:
            raise UsageError("the simulator writes the contract's columns; leave --map out")
        config, made = SimulatorConfig.parse(asked.path), folder / SIMULATOR
        made.mkdir()
        simulate(config, made)
        return str(made)
    return str(storage.fetch(asked.path, incoming)) if storage.is_remote(asked.path) else asked.path


@contextmanager
def _database(folder: Path) -> Iterator[Any]:
    """A database on disk, so that tables may be larger than memory; it keeps rows in order."""
    import duckdb

    with duckdb.connect(str(folder / "ingest.duckdb")) as database:
        database.execute(f"""
            SET TimeZone = 'UTC'; SET preserve_insertion_order = true; SET enable_progress_bar = false;
            SET autoinstall_known_extensions = false; PRAGMA disable_checkpoint_on_shutdown;
            SET memory_limit = '{MEMORY}'; SET temp_directory = '{str(folder / "spill").replace("'", "''")}'""")
        yield database


def _check(work: _Work, *, quarantine: bool, progress: Progress) -> None:
    now_us = time.time_ns() // 1000
    if stored := _stored(work, schema.EVENTS):
        derive.see(work.database, (), stored)
    for name, sources in work.dataset.tables.items():
        table = schema.TABLES[name]
        stored = _stored(work, table) if name in parts.MOMENT else ""
        work.checked[name] = check(work.database, table, sources(), now_us=now_us, quarantine=quarantine, stored=stored)
        if table is schema.EVENTS:
            derive.see(work.database, work.checked[name].columns, stored)
            _check_users(work)
        progress.advance()


def _stored(work: _Work, table: schema.Table) -> str:
    """SQL of the rows that the folder has already, empty where it has none."""
    old = [work.root / part.path for part in work.before.parts.get(table.name, ())]
    return merge.stored(table, old) if old else ""


def _check_users(work: _Work) -> None:
    query = f"SELECT count(DISTINCT {quoted(schema.USER_ID)}) FROM ({_completed(work, schema.EVENTS)})"
    users = work.database.execute(query).fetchone()[0]
    if users < work.min_users:
        message = f"{users} users with events are too few to learn from, at least {work.min_users} are needed"
        raise DataError("E201", message, remedy="Bring more users.")


def _completed(work: _Work, table: schema.Table) -> str:
    checked = work.checked[table.name]
    return derive.completed(work.database, table, checked.columns, checked.complete)


def _write(work: _Work, progress: Progress) -> tuple[dict[str, TableReport], dict[str, tuple[Part, ...]]]:
    """Write the new parts; the report and all parts of each table."""
    found: dict[str, tuple[Part, ...]] = {}
    reports: dict[str, TableReport] = {}
    for name, table in schema.TABLES.items():
        new = _parts(work, table)
        found[name] = (*work.before.parts.get(name, ()), *new) if name in parts.MOMENT else tuple(new)
        count = sum(part.rows for part in new)
        if name in work.checked:
            kept = count if name in parts.MOMENT else _count(work, checked_name(table))
            reports[name] = _table_report(work, work.checked[name], kept)
            progress.advance()
        else:
            is_derived = count > 0 and name in _named(work.before)
            fresh = max(0, count - work.before.rows(table)) if is_derived else 0
            reports[name] = TableReport(added=fresh, derived=derive.derived(table, table.key) if is_derived else {})
    return reports, found


def _parts(work: _Work, table: schema.Table) -> list[Part]:
    """The parts that are new; of a table that is not split by time, the one that takes the place of the last.

    Rows that only events name stand in until a file gives the table, and then are gone.
    """
    before = work.before.parts.get(table.name, ())
    if table.name in work.checked:
        query = _completed(work, table)
    elif table.name in _named(work.before) and schema.EVENTS.name in work.checked:
        query = derive.named_by_events(table, work.checked[schema.EVENTS.name].columns)
    elif before:
        return [] if table.name in parts.MOMENT else list(before)
    else:
        return parts.write((), table, work.root)
    by_events = table.name in _named(work.before)
    if before and table.name not in parts.MOMENT and by_events == (table.name not in work.checked):
        query = merge.merged(table, query, _stored(work, table), by_events=by_events)
    rows = work.database.execute(query if _is_in_order(work, table) else f"{query} ORDER BY row")
    return parts.write(rows.to_arrow_reader(BATCH_ROWS), table, work.root, before)


def _is_in_order(work: _Work, table: schema.Table) -> bool:
    """Rows that nothing was joined to come as they are stored; to sort many is slow."""
    if table is schema.EVENTS:
        return schema.EVENT_ID in work.checked[table.name].complete or not derive.has_repeats(work.database)
    return table is schema.IMPRESSIONS


def _count(work: _Work, name: str) -> int:
    return int(work.database.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


def _table_report(work: _Work, checked: Checked, kept: int) -> TableReport:
    return TableReport(
        rows_in=checked.rows_in,
        kept=kept,
        dropped=checked.dropped,
        derived=derive.derived(checked.table, checked.complete),
        ignored=checked.ignored,
        notes=(*checked.notes, *notes.lacking(work.database, checked), *notes.unknown(work.database, checked.table)),
        offenders=checked.offenders,
    )


def _source(asked: address.Address) -> str:
    return asked.path if is_simulated(asked.path) else Path(asked.path).name


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_quarantine(path: Path, tables_: Iterable[Checked]) -> None:
    """A line of JSON for each row that was set aside, with its code, file, line, column and value."""
    with storage.publish_file(path) as written, written.open("w") as file:
        for checked in tables_:
            for error in checked.bad():
                place = asdict(error.place) if error.place else {}
                row = {"code": error.code, "table": checked.table.name, **place, "message": error.message}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
