"""Write a table as Parquet parts, those of events and impressions by month, without holding it whole."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lodestar import schema, storage
from lodestar.data.manifest import Part
from lodestar.data.tables import arrow_schema

MOMENT = {schema.EVENTS.name: schema.EVENT_TIME, schema.IMPRESSIONS.name: schema.SHOWN_AT}
GROUP_ROWS = 250_000
MOST_WAITING = 1_000_000
ONLY = ""


def write(batches: Iterable["pa.RecordBatch"], table: schema.Table, root: Path, before: Sequence[Part] = ()) -> list[Part]:
    """The new parts, one per month that has rows, or a single one; `before` are those that the table has already."""
    writer = _Writer(table, root, before)
    try:
        for batch in batches:
            writer.add(pa.Table.from_batches([batch]).select(list(table.names)).cast(arrow_schema(table)))
        return writer.finished()
    finally:
        writer.close()


def sweep(root: Path, named: Iterable[Part]) -> None:
    """Remove the parts that no manifest names: those of a run that was killed, and those that others have taken the place of."""
    kept = {root / part.path for part in named}
    for name in schema.TABLES:
        for file in (root / name).rglob("part-*.parquet"):
            if file not in kept:
                file.unlink()


class _Writer:
    """Open parts by month; rows wait until they fill a row group, or until too many wait."""

    def __init__(self, table: schema.Table, root: Path, before: Sequence[Part]) -> None:
        self._table, self._root = table, root
        self._before = [Path(part.path) for part in before]
        self._waiting: dict[str, list[pa.Table]] = defaultdict(list)
        self._open: dict[str, tuple[str, Any]] = {}
        self._rows: dict[str, int] = defaultdict(int)

    def add(self, rows: "pa.Table") -> None:
        for month, own in self._by_month(rows):
            self._waiting[month].append(own)
            if self._num_waiting(month) >= GROUP_ROWS:
                self._flush(month)
        while sum(map(self._num_waiting, self._waiting)) > MOST_WAITING:
            self._flush(max(self._waiting, key=self._num_waiting))

    def finished(self) -> list[Part]:
        """Write what waits, and see it on the disk; a table of no rows and no parts still has one."""
        if not self._waiting and not self._open and not self._before:
            self._waiting[ONLY].append(arrow_schema(self._table).empty_table())
        for month in list(self._waiting):
            self._flush(month)
        self.close()
        return [self._part(path, self._rows[month]) for month, (path, _) in sorted(self._open.items())]

    def close(self) -> None:
        for _, writer in self._open.values():
            writer.close()

    def _by_month(self, rows: "pa.Table") -> "Iterable[tuple[str, pa.Table]]":
        if self._table.name not in MOMENT or not len(rows):
            return [(ONLY, rows)] if len(rows) else []
        times = rows[MOMENT[self._table.name]].cast(pa.int64()).to_numpy()
        months = times.astype("datetime64[us]").astype("datetime64[M]")
        found = np.unique(months)
        if len(found) == 1:
            return [(str(found[0]), rows)]
        return [(str(month), rows.take(pa.array(np.flatnonzero(months == month)))) for month in found]

    def _num_waiting(self, month: str) -> int:
        return sum(map(len, self._waiting[month]))

    def _flush(self, month: str) -> None:
        rows = pa.concat_tables(self._waiting.pop(month))
        if month not in self._open:
            folder = Path(self._table.name, month)
            path = str(folder / f"part-{self._next(folder):04d}.parquet")
            storage.make_folder(self._root / folder)
            self._open[month] = path, pq.ParquetWriter(self._root / path, rows.schema, compression="zstd")
        self._open[month][1].write_table(rows, row_group_size=GROUP_ROWS)
        self._rows[month] += len(rows)

    def _next(self, folder: Path) -> int:
        """A number that no part in use has: what a reader has open is never written over."""
        return max((int(path.stem.rpartition("-")[2]) + 1 for path in self._before if path.parent == folder), default=0)

    def _part(self, path: str, rows: int) -> Part:
        storage.sync_folder((self._root / path).parent)
        with (self._root / path).open("rb") as content:
            os.fsync(content.fileno())
            return Part(path=path, rows=rows, sha256=hashlib.file_digest(content, "sha256").hexdigest())
