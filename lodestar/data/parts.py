"""Write a table as Parquet parts, those of events and impressions by month, without holding it whole.

Months of which there are too many, as of a sender whose clock is wrong, share a part: neither the files that are open at once nor those
that an addition leaves grow with what somebody sends.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lodestar import schema, storage
from lodestar.data.manifest import Part
from lodestar.data.tables import arrow_schema

MOMENT = {schema.EVENTS.name: schema.EVENT_TIME, schema.IMPRESSIONS.name: schema.SHOWN_AT}
GROUP_ROWS = 250_000
MOST_WAITING = 1_000_000
MOST_MONTHS = 64  # that are open at once
FEW_ROWS, MOST_WITH_FEW = 1000, 24  # more months than that, of so few rows, share a part
ONLY, SHARED = "", "scattered"


def write(batches: Iterable["pa.RecordBatch"], table: schema.Table, root: Path, before: Sequence[Part] = ()) -> list[Part]:
    """The new parts, one per month that has rows, or a single one; `before` are those that the table has already.

    Rows of months that come too thinly share the part `SHARED`, unless these are few rows or few months in all.
    """
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
    """Open parts by month; rows wait until they fill a row group, or until too many wait.

    A month is kept by itself from the batch on that has `FEW_ROWS` of it. There are at most `MOST_MONTHS` of these: one that the batch
    does not have makes way, and has another part if it comes again.
    """

    def __init__(self, table: schema.Table, root: Path, before: Sequence[Part]) -> None:
        self._table, self._root = table, root
        self._before = [Path(part.path) for part in before]
        self._waiting: dict[str, list[pa.Table]] = {}
        self._open: dict[str, tuple[str, Any]] = {}
        self._rows: dict[str, int] = defaultdict(int)  # by path

    def add(self, rows: "pa.Table") -> None:
        for month, own in self._by_month(rows):
            self._wait(month, own)
            if self._num_waiting(month) >= GROUP_ROWS:
                self._flush(month)
        while sum(map(self._num_waiting, self._waiting)) > MOST_WAITING:
            self._flush(max(self._waiting, key=self._num_waiting))

    def finished(self) -> list[Part]:
        """Write what waits, and see it on the disk; a table of no rows and no parts still has one."""
        if not self._waiting and not self._rows and not self._before:
            self._wait(ONLY, arrow_schema(self._table).empty_table())
        if SHARED not in self._open:
            self._part_shared()
        for month in sorted(self._waiting):
            self._flush(month)
        self.close()
        return [self._part(path, rows) for path, rows in sorted(self._rows.items())]

    def close(self) -> None:
        for _, writer in self._open.values():
            writer.close()

    def _by_month(self, rows: "pa.Table") -> "Iterable[tuple[str, pa.Table]]":
        """The batch by the months that are kept by themselves, and the rest of it."""
        if self._table.name not in MOMENT or not len(rows):
            return [(ONLY, rows)] if len(rows) else []
        months = _months(rows, MOMENT[self._table.name])
        found, place, counts = np.unique(months, return_inverse=True, return_counts=True)
        names = self._kept(dict(zip(map(str, found), counts.tolist(), strict=True)))
        if len(found) == 1:
            return [(names[0], rows)]
        groups = np.array([names.index(name) for name in names])[place]  # months that share have one
        return [(names[group], rows.take(pa.array(np.flatnonzero(groups == group)))) for group in np.unique(groups)]

    def _kept(self, counts: dict[str, int]) -> list[str]:
        """For each month of a batch, by its rows, the name under which it is kept."""
        kept = {month for month in self._waiting.keys() | self._open.keys() if month != SHARED}
        names = []
        for month, count in counts.items():
            if month not in kept and count >= FEW_ROWS:
                if len(kept) >= MOST_MONTHS and (absent := sorted(kept - counts.keys())):
                    self._end(absent[0])
                    kept.remove(absent[0])
                if len(kept) < MOST_MONTHS:
                    kept.add(month)
            names.append(month if month in kept else SHARED)
        return names

    def _part_shared(self) -> None:
        """Give each month its own part of what would be shared, if these are few in all, or the months that have more rows."""
        tables = self._waiting.pop(SHARED, [])
        if not tables:
            return
        rows = pa.concat_tables(tables)
        months = _months(rows, MOMENT[self._table.name]).astype(str)
        found, counts = np.unique(months, return_counts=True)
        few = {month for month, count in zip(found, counts, strict=True) if count + self._num_waiting(month) < FEW_ROWS} - self._open.keys()
        shared = few if len(few) > MOST_WITH_FEW else set()
        for month in found:
            if month not in shared:
                self._wait(str(month), rows.take(pa.array(np.flatnonzero(months == month))))
        if shared:
            self._wait(SHARED, rows.take(pa.array(np.flatnonzero(np.isin(months, list(shared))))))

    def _wait(self, month: str, rows: "pa.Table") -> None:
        self._waiting.setdefault(month, []).append(rows)

    def _num_waiting(self, month: str) -> int:
        return sum(map(len, self._waiting.get(month, ())))

    def _flush(self, month: str) -> None:
        rows = pa.concat_tables(self._waiting.pop(month))
        if month not in self._open:
            folder = Path(self._table.name, month)
            path = str(folder / f"part-{self._next(folder):04d}.parquet")
            storage.make_folder(self._root / folder)
            self._open[month] = path, pq.ParquetWriter(self._root / path, rows.schema, compression="zstd")
        path, writer = self._open[month]
        writer.write_table(rows, row_group_size=GROUP_ROWS)
        self._rows[path] += len(rows)

    def _end(self, month: str) -> None:
        """Write what waits of a month, and close its part."""
        if month in self._waiting:
            self._flush(month)
        self._open.pop(month)[1].close()

    def _next(self, folder: Path) -> int:
        """A number that no part in use has: what a reader has open is never written over."""
        used = (path for path in (*self._before, *map(Path, self._rows)) if path.parent == folder)
        return max((int(path.stem.rpartition("-")[2]) + 1 for path in used), default=0)

    def _part(self, path: str, rows: int) -> Part:
        storage.sync_folder((self._root / path).parent)
        with (self._root / path).open("rb") as content:
            os.fsync(content.fileno())
            return Part(path=path, rows=rows, sha256=hashlib.file_digest(content, "sha256").hexdigest())


def _months(rows: "pa.Table", column: str) -> "NDArray[np.datetime64]":
    return rows[column].cast(pa.int64()).to_numpy().astype("datetime64[us]").astype("datetime64[M]")  # type: ignore[no-any-return]
