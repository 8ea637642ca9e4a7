"""The contract's tables on disk: one Parquet file each, every column of the contract present, rows in the order they came."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar import schema
from lodestar.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
REPORT = "report.json"
QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A folder of ingested tables; DataError where it is not one."""

    root: Path

    def users(self) -> "pa.Table":
        return self._read(schema.USERS)

    def items(self) -> "pa.Table":
        return self._read(schema.ITEMS)

    def events(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """All columns, or those asked for: most of a row is not needed to know who took what when."""
        return self._read(schema.EVENTS, columns)

    def impressions(self) -> "pa.Table":
        return self._read(schema.IMPRESSIONS)

    def path(self, table: schema.Table) -> Path:
        """Where the table lies."""
        return self.root / file_name(table)

    def _read(self, table: schema.Table, columns: Sequence[str] | None = None) -> "pa.Table":
        import pyarrow.parquet as pq

        path = self.path(table)
        if not path.exists():
            raise DataError("E151", f"there is no table {table.name} in {self.root}", remedy="Ingest the data first.")
        return pq.read_table(path, columns=None if columns is None else list(columns), schema=arrow_schema(table))


def write(tables: "dict[str, pa.Table]", folder: Path) -> None:
    """Write each table of the contract into a folder; one that is not given is written with no rows."""
    for name, table in schema.TABLES.items():
        write_batches(tables[name].to_reader() if name in tables else (), table, folder)


def write_batches(batches: Iterable["pa.RecordBatch"], table: schema.Table, folder: Path) -> int:
    """Write one table without holding it whole; the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shape, count = arrow_schema(table), 0
    with pq.ParquetWriter(folder / file_name(table), shape, compression="zstd") as target:
        for batch in batches:
            target.write_table(pa.Table.from_batches([batch]).select(list(table.names)).cast(shape))
            count += len(batch)
    return count


def file_name(table: schema.Table) -> str:
    return f"{table.name}.parquet"


def arrow_schema(table: schema.Table) -> "pa.Schema":
    """The table's columns as Arrow types: times in UTC microseconds, lists of text as lists."""
    import pyarrow as pa

    types: dict[schema.Kind, Any] = {
        schema.Kind.ID: pa.string(),
        schema.Kind.TEXT: pa.string(),
        schema.Kind.TIME: pa.timestamp("us", tz="UTC"),
        schema.Kind.FLOAT: pa.float64(),
        schema.Kind.INT: pa.int64(),
        schema.Kind.BOOL: pa.bool_(),
        schema.Kind.TEXTS: pa.list_(pa.string()),
        schema.Kind.FLOATS: pa.list_(pa.float32()),
        schema.Kind.PAIRS: pa.map_(pa.string(), pa.string()),
    }
    return pa.schema([(column.name, types[column.kind]) for column in table.columns])
