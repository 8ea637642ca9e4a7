"""Read and write the contract's tables as Parquet, with every column of the contract, rows in ingestion order.

A folder with a manifest has the parts that it lists; one without, as the simulator writes it, has one file per table.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar import schema
from lodestar.data.tables import manifest
from lodestar.errors import DataError
from lodestar.schema.feedback import Feedback

if TYPE_CHECKING:
    import pyarrow as pa

REPORT = "report.json"
QUARANTINE = "quarantine.jsonl"


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A folder of ingested tables, read from a consistent snapshot; DataError E151 where a table is missing."""

    root: Path

    def users(self) -> "pa.Table":
        """The users table, all columns."""
        return self._read(schema.USERS)

    def items(self) -> "pa.Table":
        """The items table, all columns."""
        return self._read(schema.ITEMS)

    def events(self, columns: Sequence[str] | None = None) -> "pa.Table":
        """The events table; `columns` limits what is read, as most columns are not needed for interactions."""
        return self._read(schema.EVENTS, columns)

    def impressions(self) -> "pa.Table":
        """The impressions table, all columns."""
        return self._read(schema.IMPRESSIONS)

    def paths(self, table: schema.Table) -> list[Path]:
        """Paths of a table's parts in the order of its rows, at least one; DataError E151 where there is none.

        All tables come from one snapshot, whose parts exist as long as this object lives, whatever is ingested meanwhile.
        """
        return [self._snapshot.folder.path / name for name in self.names(table)]

    def names(self, table: schema.Table) -> list[str]:
        """Paths of a table's parts relative to the folder, in the order of its rows; DataError E151 where there is none."""
        found = self._snapshot.manifest
        names = [part.path for part in found.parts.get(table.name, ())] if found else [file_name(table)]
        if not names or not all((self._snapshot.folder.path / name).exists() for name in names):
            raise self._missing(table.name)
        return names

    def feedback(self) -> Feedback | None:
        """The declared rules of feedback; None: the defaults."""
        listed = self._snapshot.manifest
        return listed.feedback if listed else None

    def digest(self) -> str:
        """sha256 over the names and contents of all parts and the declared rules of feedback, 64 hex digits; every append changes it.

        DataError E151 where a part is missing.
        """
        total = hashlib.sha256()
        if (rules := self.feedback()) is not None:
            total.update(f"feedback {json.dumps(rules.to_json(), sort_keys=True)}\n".encode())
        for name, sha256 in self._parts():
            total.update(f"{name} {sha256}\n".encode())
        return total.hexdigest()

    def _parts(self) -> Iterator[tuple[str, str]]:
        """Relative path and sha256 of each part, from the manifest where there is one."""
        folder, listed = self._snapshot.folder.path, self._snapshot.manifest
        for name, table in schema.TABLES.items():
            if listed is None and (file := folder / file_name(table)).is_file():
                with file.open("rb") as content:
                    yield file.name, hashlib.file_digest(content, "sha256").hexdigest()
            for part in listed.parts.get(name, ()) if listed else ():
                if not (folder / part.path).is_file():
                    raise self._missing(name)
                yield part.path, part.sha256

    @cached_property
    def _snapshot(self) -> manifest.Snapshot:
        try:
            return manifest.snapshot(self.root)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing(schema.EVENTS.name) from error

    def _missing(self, name: str) -> DataError:
        return DataError("E151", f"there is no table {name} in {self.root}", remedy="Ingest the data first, with `lodestar data ingest`.")

    def _read(self, table: schema.Table, columns: Sequence[str] | None = None) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = None if columns is None else list(columns)
        shape = arrow_schema(table)
        return pa.concat_tables([pq.read_table(path, columns=wanted, schema=shape) for path in self.paths(table)])


def write(tables: "dict[str, pa.Table]", folder: Path) -> None:
    """Write each table of the contract into a folder, one Parquet file each; a table that is not given is written empty."""
    import pyarrow.parquet as pq

    for name, table in schema.TABLES.items():
        shape = arrow_schema(table)
        rows = tables[name].select(list(table.names)).cast(shape) if name in tables else shape.empty_table()
        pq.write_table(rows, folder / file_name(table), compression="zstd")


def file_name(table: schema.Table) -> str:
    """Name of a table's Parquet file in a folder without a manifest."""
    return f"{table.name}.parquet"


def arrow_schema(table: schema.Table) -> "pa.Schema":
    """Arrow schema of a table: times as UTC microseconds, embeddings as float32 lists, attributes as string maps."""
    import pyarrow as pa

    types: dict[schema.Kind, Any] = {
        schema.Kind.ID: pa.string(),
        schema.Kind.TEXT: pa.string(),
        schema.Kind.TIME: pa.timestamp("us", tz="UTC"),
        schema.Kind.FLOAT: pa.float64(),
        schema.Kind.INT: pa.int64(),
        schema.Kind.BOOL: pa.bool_(),
        schema.Kind.TEXT_LIST: pa.list_(pa.string()),
        schema.Kind.FLOAT_LIST: pa.list_(pa.float32()),
        schema.Kind.STRING_MAP: pa.map_(pa.string(), pa.string()),
    }
    return pa.schema([(column.name, types[column.kind]) for column in table.columns])
