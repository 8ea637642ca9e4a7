"""Ingest data into the contract's tables: read, validate, derive missing columns, write Parquet parts and a report.

The same bytes give the same files: nothing that is written depends on the clock or the folder. Memory does not grow with the rows.
Appending keeps the parts of a folder: new rows become new parts, which are in the tables once the manifest names them (atomic publish).
"""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lodestar import schema
from lodestar.data.address import Address, parse_address
from lodestar.data.contract import defaults, outliers
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.checks import CheckedTable, check
from lodestar.data.contract.findings import log_findings
from lodestar.data.contract.findings.findings import Finding
from lodestar.data.contract.quarantine import write_bad_rows
from lodestar.data.contract.report import Report, TableReport
from lodestar.data.dataset import DataSet
from lodestar.data.readers import collector_parts
from lodestar.data.readers.source import damaged
from lodestar.data.resolve import local_path, resolve_tables
from lodestar.data.simulator.simulator import is_simulated
from lodestar.data.tables import manifest, merge, part_files, tables
from lodestar.data.tables.manifest import Manifest, Part
from lodestar.errors import DataError, UsageError, together
from lodestar.io import storage
from lodestar.io.disk_database import open_database
from lodestar.io.private_folders import workspace
from lodestar.progress import Progress

INCOMING = ".incoming"  # files downloaded from a bucket, until they are ingested
MIN_USERS = 5
BATCH_ROWS = 125_000
MEMORY = "250MB"  # of the database; the rest spills to its folder


@dataclass(frozen=True, kw_only=True)
class _Work:
    """State of an ingest: `root` is the folder written to, `before` its manifest at the start."""

    database: Any
    dataset: DataSet
    root: Path
    before: Manifest
    min_users: int
    checked: dict[str, CheckedTable] = field(default_factory=dict)
    outlier_bounds: dict[str, float] = field(default_factory=dict)


def ingest(data: str, tables_folder: Path, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """Ingest an address (see `parse_address`) into a new folder of tables, published atomically.

    `data` is a folder of tables, the folder of a public data set, files of events (a wildcard names several), `s3://` of those, or
    `simulator:users=300,…`. `mapping` is column names, ours to theirs. At the first bad row it raises DataError and writes nothing;
    with `quarantine` bad rows are quarantined instead. UsageError where there is nothing to read, DataError E203 for too few users.
    """
    address = parse_address(data, mapping)
    storage.refuse_other_folder(tables_folder, manifest.FILE)
    with storage.publish_folder(tables_folder) as root, tempfile.TemporaryDirectory(dir=root.parent) as folder:
        return _ingest(address, quarantine, root, Manifest(), MIN_USERS, Path(folder))


def append(data: str, root: Path, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """Append new data to a folder of tables, which is created if needed; files that were ingested before (by sha256) are skipped.

    Killed at any point, it leaves the tables as they were, and running it again gives the same result as an uninterrupted run.
    UsageError where only one of folder and data has event times, DataError E159 where the data declare other rules of feedback.
    """
    address = parse_address(data, mapping)
    with storage.exclusive(root) as folder, _no_empty_folder(root):
        storage.make_synced_folder(root)
        before = manifest.read(root) or Manifest()
        with storage.try_lock(root) as is_unread:
            if is_unread:
                part_files.remove_orphans(root, (part for named in before.parts.values() for part in named))
        return _ingest(address, quarantine, root, before, 0, folder)


@contextmanager
def _no_empty_folder(root: Path) -> Iterator[None]:
    """Remove a folder that is created inside the context if an error leaves it empty."""
    is_new = not root.exists()
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):
                root.rmdir()
        raise


def validate(data: str, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """The report, or the error, that `ingest` would give; writes nothing."""
    with workspace() as folder:
        return ingest(data, folder / "tables", mapping=mapping, quarantine=quarantine)


def _ingest(address: Address, quarantine: bool, root: Path, before: Manifest, min_users: int, folder: Path) -> Report:
    """Ingest into `root`, whose manifest was `before`; `folder` is for temporary files.

    Downloads go to `root`, so that an append that was killed goes on with those it has.
    """
    digests: dict[Path, str] = {}

    def is_ingested(path: Path) -> bool:
        try:
            if path not in digests:
                digests[path] = _digest(path)
        except OSError as error:  # no permission, or it is gone
            if collector_parts.is_part(path):
                return False  # reported where it is read; the next ingest tries it again
            raise damaged(path, error) from error
        return digests[path] in before.inputs

    path = local_path(address, folder, root / INCOMING)
    dataset = resolve_tables(path, address.mapping, is_ingested, time_zone=address.time_zone, address=address.path)
    if before.parts and before.order_only != dataset.order_only:
        raise UsageError(f"{root} and the data cannot be one table: only one of the two has event times; use another folder")
    if before.parts:
        manifest.check_feedback(root, before, dataset.feedback)
    source = address.path if is_simulated(address.path) else Path(address.path).name
    known = sum(digest in before.inputs for digest in digests.values())
    if not dataset.tables:
        empty = {name: TableReport() for name in schema.TABLES}
        shutil.rmtree(root / INCOMING, ignore_errors=True)
        return Report(source=source, order_only=dataset.order_only, known_files=known, notes=dataset.notes, tables=empty)
    if schema.EVENTS.name not in {*dataset.tables, *before.parts}:
        raise UsageError(f"{address.path} holds no events; ingest them first, or with the rest")
    inputs = {digest: path.name for path, digest in digests.items()}
    with open_database(folder / "ingest.duckdb", MEMORY) as database, Progress("ingest", 2 * len(dataset.tables) + 1) as progress:
        database.execute("PRAGMA disable_checkpoint_on_shutdown")
        work = _Work(database=database, dataset=dataset, root=root, before=before, min_users=min_users)
        found = _check(work, quarantine=quarantine, progress=progress)
        reports, written = _write(work, progress)
        report = Report(
            source=source, order_only=dataset.order_only, known_files=known, notes=dataset.notes, findings=tuple(found), tables=reports
        )
        storage.put(_json(asdict(report)), str(root / tables.REPORT))
        if quarantine or any(checked.offenders for checked in work.checked.values()):
            write_bad_rows(root / tables.QUARANTINE, {name: checked.bad() for name, checked in work.checked.items()})
        manifest.write(root, _manifest_after(work, written, inputs))
        shutil.rmtree(root / INCOMING, ignore_errors=True)
        progress.advance()
        return report


def _manifest_after(work: _Work, written: Mapping[str, tuple[Part, ...]], inputs: Mapping[str, str]) -> Manifest:
    """The manifest once the new parts and files are in; the rules of feedback are those that the folder was begun with."""
    before, dataset = work.before, work.dataset
    return replace(
        before,
        parts=written,
        inputs={**before.inputs, **inputs},
        named_by_events=tuple(sorted(name for name in _tables_from_events(before) if name not in work.checked)),
        order_only=dataset.order_only,
        feedback=before.feedback if before.parts else dataset.feedback,
        outlier_bounds=work.outlier_bounds or before.outlier_bounds,
    )


def _tables_from_events(before: Manifest) -> Sequence[str]:
    """Names of the tables whose rows are derived from events so far; at first, users and items."""
    return before.named_by_events if before.parts else (schema.USERS.name, schema.ITEMS.name)


def _check(work: _Work, *, quarantine: bool, progress: Progress) -> list[Finding]:
    """Validate all tables of the data set, events first, as the others' defaults depend on them; returns what was found in them.

    DataErrors of all that is wrong with any of them.
    """
    now_us = time.time_ns() // 1000
    errors: list[DataError] = []
    if stored := _stored_sql(work, schema.EVENTS):
        defaults.create_events_view(work.database, (), stored)
    for name, sources in work.dataset.tables.items():
        table = schema.TABLES[name]
        stored = _stored_sql(work, table) if name in part_files.TIME_COLUMN else ""
        try:
            work.checked[name] = check(work.database, table, sources(), now_us=now_us, quarantine=quarantine, stored=stored)
            if table is schema.EVENTS:
                _check_events(work, stored)
        except DataError as error:
            errors.append(error)
        progress.advance()
    stored_sql = {name: _stored_sql(work, schema.TABLES[name]) for name in work.checked}
    found = log_findings.of_tables(work.database, work.checked, stored_sql, errors)
    if errors:
        raise together(errors)
    return found


def _check_events(work: _Work, stored: str) -> None:
    """Hold the events to the outlier rules, and see that there are enough users."""
    name = schema.EVENTS.name
    work.checked[name], bounds = outliers.apply(work.database, work.checked[name], work.dataset.outliers, work.before.outlier_bounds)
    work.outlier_bounds.update(bounds)
    defaults.create_events_view(work.database, work.checked[name].columns, stored)
    _check_users(work)


def _stored_sql(work: _Work, table: schema.Table) -> str:
    """SQL of the rows that the folder had before, empty where it had none."""
    old = [work.root / part.path for part in work.before.parts.get(table.name, ())]
    return merge.stored_sql(table, old) if old else ""


def _check_users(work: _Work) -> None:
    query = f"SELECT count(DISTINCT {quoted(schema.USER_ID)}) FROM ({_completed_sql(work, schema.EVENTS)})"
    users = work.database.execute(query).fetchone()[0]
    if users < work.min_users:
        message = f"{users} users with events are too few to train on, at least {work.min_users} are needed"
        raise DataError("E203", message, remedy="Ingest events of more users.")


def _completed_sql(work: _Work, table: schema.Table) -> str:
    checked = work.checked[table.name]
    return defaults.completed_sql(work.database, table, checked.columns, checked.complete)


def _write(work: _Work, progress: Progress) -> tuple[dict[str, TableReport], dict[str, tuple[Part, ...]]]:
    """Write the new parts; returns the report and all parts of each table, by name."""
    found: dict[str, tuple[Part, ...]] = {}
    reports: dict[str, TableReport] = {}
    for name, table in schema.TABLES.items():
        new = _parts(work, table)
        found[name] = (*work.before.parts.get(name, ()), *new) if name in part_files.TIME_COLUMN else tuple(new)
        count = sum(part.rows for part in new)
        if name in work.checked:
            kept = count if name in part_files.TIME_COLUMN else _count(work, defaults.checked_name(table))
            reports[name] = _table_report(work, work.checked[name], kept)
            progress.advance()
        else:
            is_derived = count > 0 and name in _tables_from_events(work.before)
            fresh = max(0, count - work.before.rows(table)) if is_derived else 0
            reports[name] = TableReport(added=fresh, derived=defaults.derived_columns(table, table.key) if is_derived else {})
    return reports, found


def _parts(work: _Work, table: schema.Table) -> list[Part]:
    """Write the new parts of a table; a table without a time column is merged and rewritten as one part.

    Rows derived from events are placeholders: they are replaced once a file gives the table.
    """
    before = work.before.parts.get(table.name, ())
    if table.name in work.checked:
        query = _completed_sql(work, table)
    elif table.name in _tables_from_events(work.before) and schema.EVENTS.name in work.checked:
        query = defaults.ids_from_events(table, work.checked[schema.EVENTS.name].columns)
    elif before:
        return [] if table.name in part_files.TIME_COLUMN else list(before)
    else:
        return part_files.write((), table, work.root)
    by_events = table.name in _tables_from_events(work.before)
    if before and table.name not in part_files.TIME_COLUMN and by_events == (table.name not in work.checked):
        query = merge.merged_sql(table, query, _stored_sql(work, table), by_events=by_events)
    rows = work.database.execute(query if _is_in_order(work, table) else f"{query} ORDER BY row")
    return part_files.write(rows.to_arrow_reader(BATCH_ROWS), table, work.root, before)


def _is_in_order(work: _Work, table: schema.Table) -> bool:
    """Whether the query keeps the order of rows without a sort, as it has no join."""
    if table is schema.EVENTS:
        return schema.EVENT_ID in work.checked[table.name].complete or not defaults.has_repeats(work.database)
    return table is schema.IMPRESSIONS


def _count(work: _Work, name: str) -> int:
    return int(work.database.execute(f"SELECT count(*) FROM {name}").fetchone()[0])


def _table_report(work: _Work, checked: CheckedTable, kept: int) -> TableReport:
    return TableReport(
        rows_in=checked.rows_in,
        rows_kept=kept,
        dropped=checked.dropped,
        derived=defaults.derived_columns(checked.table, checked.complete),
        ignored=checked.ignored,
        notes=(*checked.notes, *log_findings.notes(work.database, checked)),
        repeats=log_findings.repeats(work.database, checked),
        offenders=checked.offenders,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
