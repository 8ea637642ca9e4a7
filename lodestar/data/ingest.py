"""Bring data into the contract's tables: read, check, derive what is missing, and say what was done.

The same bytes give the same files, whenever and wherever they are read: nothing that is written depends on the clock or the folder.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lodestar import schema, storage
from lodestar.data import address, derive, tables
from lodestar.data.checks import Checked, check, checked_name
from lodestar.data.conversions import quoted
from lodestar.data.dataset import DataSet
from lodestar.data.layout import opened
from lodestar.data.report import Report, TableReport
from lodestar.errors import DataError, UsageError
from lodestar.progress import Progress

SIMULATOR = "simulator"
MIN_USERS = 5
SHOWN_OFFENDERS = 5
BATCH_ROWS = 500_000


@dataclass(frozen=True, kw_only=True)
class _Work:
    database: Any
    dataset: DataSet
    checked: dict[str, Checked]


def ingest(data: str, target: Path, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """Publish a folder of tables from an address (see `address.parse`); DataError, and nothing written, at the first bad row.

    `data` names a folder of tables, a known data set's folder, a file of events, `s3://` of those, or `simulator:users=300,…`.
    """
    asked = address.parse(data)
    asked = address.Address(path=asked.path, mapping={**asked.mapping, **(mapping or {})}, quarantine=asked.quarantine or quarantine)
    with tempfile.TemporaryDirectory() as folder, _database(Path(folder)) as database:
        dataset = opened(_local(asked, Path(folder)), asked.mapping)
        with Progress("ingest", 2 * len(dataset.tables) + 1) as progress:
            work = _Work(database=database, dataset=dataset, checked={})
            _check(work, quarantine=asked.quarantine, progress=progress)
            with storage.publish_folder(target) as published:
                return _publish(work, asked, published, progress)


def validate(data: str, *, mapping: Mapping[str, str] | None = None, quarantine: bool = False) -> Report:
    """What `ingest` would report or raise, with nothing left behind."""
    with tempfile.TemporaryDirectory() as folder:
        return ingest(data, Path(folder) / "tables", mapping=mapping, quarantine=quarantine)


def _local(asked: address.Address, folder: Path) -> Path:
    if asked.path == SIMULATOR or asked.path.startswith(f"{SIMULATOR}:"):
        from lodestar.data.simulator import SimulatorConfig, simulate

        if asked.mapping:
            raise UsageError("the simulator writes the contract's columns; leave --map out")
        config, made = SimulatorConfig.parse(asked.path), folder / SIMULATOR
        made.mkdir()
        simulate(config, made)
        return made
    return storage.fetch(asked.path, folder) if storage.is_remote(asked.path) else Path(asked.path)


@contextmanager
def _database(folder: Path) -> Iterator[Any]:
    """A database on disk, so that tables may be larger than memory; it keeps rows in order."""
    import duckdb

    with duckdb.connect(str(folder / "ingest.duckdb")) as database:
        database.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true; SET enable_progress_bar = false")
        yield database


def _check(work: _Work, *, quarantine: bool, progress: Progress) -> None:
    now_us = time.time_ns() // 1000
    for name, read in work.dataset.tables.items():
        work.checked[name] = check(work.database, schema.TABLES[name], read(), now_us=now_us, quarantine=quarantine)
        if name == schema.EVENTS.name:
            _check_users(work)
        progress.advance()


def _check_users(work: _Work) -> None:
    query = f"SELECT count(DISTINCT {quoted(schema.USER_ID)}) FROM {checked_name(schema.EVENTS)}"
    users = work.database.execute(query).fetchone()[0]
    if users < MIN_USERS:
        message = f"{users} users with events are too few to learn from, at least {MIN_USERS} are needed"
        raise DataError("E201", message, remedy="Bring more users.")


def _publish(work: _Work, asked: address.Address, folder: Path, progress: Progress) -> Report:
    counts: dict[str, int] = {}
    for name, table in schema.TABLES.items():
        counts[name] = tables.write_batches(_rows(work, table), table, folder)
        if name in work.checked:
            progress.advance()
    report = _report(work, asked, counts)
    _write_json(folder / tables.REPORT, asdict(report))
    _write_json(folder / tables.MANIFEST, _manifest(work, report, counts))
    if asked.quarantine:
        (folder / tables.QUARANTINE).write_text("".join(_quarantined(checked) for checked in work.checked.values()))
    progress.advance()
    return report


def _rows(work: _Work, table: schema.Table) -> Any:
    checked = work.checked.get(table.name)
    if checked is not None:
        query = derive.completed(table, checked.name, checked.columns)
    elif table in (schema.USERS, schema.ITEMS):
        query = derive.named_by_events(table)
    else:
        return ()
    return work.database.execute(query).to_arrow_reader(BATCH_ROWS)


def _report(work: _Work, asked: address.Address, counts: Mapping[str, int]) -> Report:
    reports = {}
    for name, table in schema.TABLES.items():
        checked = work.checked.get(name)
        if checked is None:
            derived = derive.derived(table, table.key) if counts[name] else {}
            reports[name] = TableReport(added=counts[name], derived=derived)
            continue
        notes = (*checked.notes, *_lacking(work, checked), *_unknown(work, table))
        reports[name] = TableReport(
            rows_in=checked.rows_in,
            kept=counts[name],
            dropped=checked.dropped,
            derived=derive.derived(table, checked.columns),
            ignored=checked.ignored,
            notes=notes,
            offenders=_offenders(checked),
        )
    source = asked.path if asked.path.startswith(SIMULATOR) else Path(asked.path).name
    return Report(source=source, order_only=work.dataset.order_only, tables=reports)


def _offenders(checked: Checked) -> dict[str, tuple[str, ...]]:
    """Where the first few bad rows of each code lie."""
    found: dict[str, tuple[str, ...]] = {}
    for error in checked.bad:
        found[error.code] = (*found.get(error.code, ()), str(error.place))[:SHOWN_OFFENDERS]
    return found


def _lacking(work: _Work, checked: Checked) -> list[str]:
    """Notes of event types whose further needs the file has no column for."""
    if checked.table is not schema.EVENTS or schema.EVENT_TYPE not in checked.columns:
        return []
    types = quoted(schema.EVENT_TYPE)
    rows = work.database.execute(f"SELECT {types}, count(*) FROM {checked.name} GROUP BY 1 ORDER BY 1").fetchall()
    notes = []
    for kind, count in rows:
        missing = [name for name in schema.NEEDS[schema.EventType(kind)] if name not in checked.columns]
        if missing:
            notes.append(f"{count:,} events of type {kind} without {', '.join(missing)}, which the file has no column for")
    return notes


def _unknown(work: _Work, table: schema.Table) -> list[str]:
    """A note of events that name what the given table does not have; they are kept and joined when it arrives."""
    if table not in (schema.USERS, schema.ITEMS):
        return []
    key = quoted(table.key[0])
    query = f"""
        SELECT count(*) FROM {checked_name(schema.EVENTS)} AS events
        WHERE {key} IS NOT NULL AND {key} NOT IN (SELECT {key} FROM {checked_name(table)})"""
    count = work.database.execute(query).fetchone()[0]
    return [f"{count:,} events name {table.name} that are not here; they are kept and joined when these arrive"] if count else []


def _manifest(work: _Work, report: Report, counts: Mapping[str, int]) -> dict[str, object]:
    return {
        "schema": schema.HASH,
        "source": report.source,
        "order_only": report.order_only,
        "rows": dict(counts),
        "inputs": {path.name: _digest(path) for path in work.dataset.files},
    }


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _quarantined(checked: Checked) -> str:
    lines = []
    for error in checked.bad:
        place = asdict(error.place) if error.place else {}
        lines.append(json.dumps({"code": error.code, "table": checked.table.name, **place, "message": error.message}, ensure_ascii=False))
    return "".join(line + "\n" for line in lines)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
