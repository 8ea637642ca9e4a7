"""The contract's tables on disk as Parquet, every column of the contract present, rows in the order they came.

A folder with a manifest holds the parts that it names; without one, as the simulator writes it, one file per table.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar import schema
from lodestar.data import manifest
from lodestar.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

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

    def paths(self, table: schema.Table) -> list[Path]:
        """Where the table's parts lie, in the order of its rows, of which there is at least one; DataError E151 where there is none.

        They are the parts of one moment for all tables, and stay as long as this object lives, whatever is ingested meanwhile.
        """
        return [self._now.folder.path / name for name in self.names(table)]

    def names(self, table: schema.Table) -> list[str]:
        """The same, relative to the folder."""
        found = self._now.manifest
        names = [part.path for part in found.parts.get(table.name, ())] if found else [file_name(table)]
        if not names or not all((self._now.folder.path / name).exists() for name in names):
            raise self._missing(table.name)
        return names

    def digest(self) -> str:
        """sha256 over the names and contents of all parts, 64 hex digits; DataError E151 where one is gone. An addition changes it."""
        total = hashlib.sha256()
        for name, sha256 in self._parts():
            total.update(f"{name} {sha256}\n".encode())
        return total.hexdigest()

    def _parts(self) -> Iterator[tuple[str, str]]:
        """Path below the folder and sha256 of each part there is, which a manifest knows already."""
        folder, noted = self._now.folder.path, self._now.manifest
        for name, table in schema.TABLES.items():
            if noted is None and (file := folder / file_name(table)).is_file():
                with file.open("rb") as content:
                    yield file.name, hashlib.file_digest(content, "sha256").hexdigest()
            for part in noted.parts.get(name, ()) if noted else ():
                if not (folder / part.path).is_file():
                    raise self._missing(name)
                yield part.path, part.sha256

    @cached_property
    def _now(self) -> manifest.Snapshot:
        try:
            return manifest.snapshot(self.root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(schema.EVENTS.name) from error

    def _missing(self, name: str) -> DataError:
        return DataError("E151", f"there is no table {name} in {self.root}", remedy="Ingest the data first.")

    def _read(self, table: schema.Table, columns: Sequence[str] | None = None) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = None if columns is None else list(columns)
        shape = arrow_schema(table)
        return pa.concat_tables([pq.read_table(path, columns=wanted, schema=shape) for path in self.paths(table)])


def write(tables: "dict[str, pa.Table]", folder: Path) -> None:
    """Write each table of the contract into a folder, one file each; one that is not given is written with no rows."""
    import pyarrow.parquet as pq

    for name, table in schema.TABLES.items():
        shape = arrow_schema(table)
        rows = tables[name].select(list(table.names)).cast(shape) if name in tables else shape.empty_table()
        pq.write_table(rows, folder / file_name(table), compression="zstd")


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
