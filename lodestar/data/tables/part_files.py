"""Write a table as Parquet parts, events and impressions partitioned by month, in bounded memory.

If there are too many months, as from a sender with a wrong clock, the rest share one part: neither the number of open files nor of files
per append grows with the input.
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

from lodestar import schema
from lodestar.data.tables.manifest import Part
from lodestar.data.tables.tables import arrow_schema
from lodestar.io import storage

TIME_COLUMN = {schema.EVENTS.name: schema.EVENT_TIME, schema.IMPRESSIONS.name: schema.SHOWN_AT}
GROUP_ROWS = 250_000
MAX_BUFFERED_ROWS = 1_000_000
MAX_MONTHS = 64  # with an open file at once
FEW_ROWS, MAX_MONTHS_WITH_FEW = 1000, 24  # if more months than that have fewer rows, these months share a part
ONLY, SHARED = "", "scattered"


def write(batches: Iterable["pa.RecordBatch"], table: schema.Table, root: Path, before: Sequence[Part] = ()) -> list[Part]:
    """Write batches as new parts, one per month with rows, or one in all for a table without months; `before` are the table's old parts.

    Sparse months share the part `SHARED`, unless there are few of them. Parts are synced to disk before this returns.
    """
    writer = _Writer(table, root, before)
    try:
        for batch in batches:
            writer.add(pa.Table.from_batches([batch]).select(list(table.names)).cast(arrow_schema(table)))
        return writer.finish()
    finally:
        writer.close()


def remove_orphans(root: Path, named: Iterable[Part]) -> None:
    """Remove orphans: parts below `root` that the manifest does not name, from a killed run or replaced since."""
    kept = {root / part.path for part in named}
    for name in schema.TABLES:
        for file in (root / name).rglob("part-*.parquet"):
            if file not in kept:
                file.unlink()


class _Writer:
    """Open parts by month; rows are buffered until they fill a row group, or until the buffers hold too many rows.

    A month gets its own part from the first batch with `FEW_ROWS` of it. At most `MAX_MONTHS` are open: a month that is not in the batch
    is closed for a new one, and gets another part if it comes again.
    """

    def __init__(self, table: schema.Table, root: Path, before: Sequence[Part]) -> None:
        self._table, self._root = table, root
        self._before = [Path(part.path) for part in before]
        self._buffers: dict[str, list[pa.Table]] = {}
        self._open: dict[str, tuple[str, Any]] = {}
        self._rows: dict[str, int] = defaultdict(int)  # by path

    def add(self, rows: "pa.Table") -> None:
        """Buffer a batch by month, and write full row groups."""
        for month, month_rows in self._by_month(rows):
            self._buffer(month, month_rows)
            if self._num_buffered(month) >= GROUP_ROWS:
                self._flush(month)
        while sum(map(self._num_buffered, self._buffers)) > MAX_BUFFERED_ROWS:
            self._flush(max(self._buffers, key=self._num_buffered))

    def finish(self) -> list[Part]:
        """Write the buffers, close and sync all parts, and return them; a table with no rows and no parts gets an empty part."""
        if not self._buffers and not self._rows and not self._before:
            self._buffer(ONLY, arrow_schema(self._table).empty_table())
        if SHARED not in self._open:
            self._split_shared()
        for month in sorted(self._buffers):
            self._flush(month)
        self.close()
        return [self._part(path, rows) for path, rows in sorted(self._rows.items())]

    def close(self) -> None:
        """Close all open files."""
        for _, writer in self._open.values():
            writer.close()

    def _by_month(self, rows: "pa.Table") -> "Iterable[tuple[str, pa.Table]]":
        """The rows of a batch by month, those of shared months under `SHARED`."""
        if self._table.name not in TIME_COLUMN or not len(rows):
            return [(ONLY, rows)] if len(rows) else []
        months = _months(rows, TIME_COLUMN[self._table.name])
        found, index, counts = np.unique(months, return_inverse=True, return_counts=True)
        names = self._part_names(dict(zip(map(str, found), counts.tolist(), strict=True)))
        if len(found) == 1:
            return [(names[0], rows)]
        groups = np.array([names.index(name) for name in names])[index]  # shared months have one group
        return [(names[group], rows.take(pa.array(np.flatnonzero(groups == group)))) for group in np.unique(groups)]

    def _part_names(self, counts: dict[str, int]) -> list[str]:
        """The part name of each month of a batch, from its number of rows: the month itself or `SHARED`."""
        separate = {month for month in self._buffers.keys() | self._open.keys() if month != SHARED}
        names = []
        for month, count in counts.items():
            if month not in separate and count >= FEW_ROWS:
                if len(separate) >= MAX_MONTHS and (absent := sorted(separate - counts.keys())):
                    self._close_month(absent[0])
                    separate.remove(absent[0])
                if len(separate) < MAX_MONTHS:
                    separate.add(month)
            names.append(month if month in separate else SHARED)
        return names

    def _split_shared(self) -> None:
        """Move months out of the shared buffer into their own: all of them if they are few, else those with enough rows."""
        tables = self._buffers.pop(SHARED, [])
        if not tables:
            return
        rows = pa.concat_tables(tables)
        months = _months(rows, TIME_COLUMN[self._table.name]).astype(str)
        found, counts = np.unique(months, return_counts=True)
        few = {
            month for month, count in zip(found, counts, strict=True) if count + self._num_buffered(month) < FEW_ROWS
        } - self._open.keys()
        shared = few if len(few) > MAX_MONTHS_WITH_FEW else set()
        for month in found:
            if month not in shared:
                self._buffer(str(month), rows.take(pa.array(np.flatnonzero(months == month))))
        if shared:
            self._buffer(SHARED, rows.take(pa.array(np.flatnonzero(np.isin(months, list(shared))))))

    def _buffer(self, month: str, rows: "pa.Table") -> None:
        self._buffers.setdefault(month, []).append(rows)

    def _num_buffered(self, month: str) -> int:
        return sum(map(len, self._buffers.get(month, ())))

    def _flush(self, month: str) -> None:
        """Write a month's buffer to its part, which is opened if needed."""
        rows = pa.concat_tables(self._buffers.pop(month))
        if month not in self._open:
            folder = Path(self._table.name, month)
            path = str(folder / f"part-{self._next_number(folder):04d}.parquet")
            storage.make_synced_folder(self._root / folder)
            self._open[month] = path, pq.ParquetWriter(self._root / path, rows.schema, compression="zstd")
        path, writer = self._open[month]
        writer.write_table(rows, row_group_size=GROUP_ROWS)
        self._rows[path] += len(rows)

    def _close_month(self, month: str) -> None:
        """Write the buffer of a month, and close its part."""
        if month in self._buffers:
            self._flush(month)
        self._open.pop(month)[1].close()

    def _next_number(self, folder: Path) -> int:
        """A part number that is not in use, so that no file that a reader has open is overwritten."""
        used = (path for path in (*self._before, *map(Path, self._rows)) if path.parent == folder)
        return max((int(path.stem.rpartition("-")[2]) + 1 for path in used), default=0)

    def _part(self, path: str, rows: int) -> Part:
        storage.sync_folder((self._root / path).parent)
        with (self._root / path).open("rb") as content:
            os.fsync(content.fileno())
            return Part(path=path, rows=rows, sha256=hashlib.file_digest(content, "sha256").hexdigest())


def _months(rows: "pa.Table", column: str) -> "NDArray[np.datetime64]":
    return rows[column].cast(pa.int64()).to_numpy().astype("datetime64[us]").astype("datetime64[M]")  # type: ignore[no-any-return]
