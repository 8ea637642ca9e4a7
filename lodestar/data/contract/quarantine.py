"""Quarantine: rows of one table that are not kept, as DuckDB tables on disk: bad rows with their row error, and duplicates (counted)."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from lodestar.errors import DataError
from lodestar.io import storage

ROW, ERROR, VALUE = "row", "error", "value"
SHOWN_CHARACTERS = 1000
_INCOMING = "bad_rows"


class BadRow(NamedTuple):
    """A row number, its row error as `code:column`, and the value (its first 1,000 characters)."""

    row: int
    error: str
    value: str


class Quarantine:
    """Bad and duplicate rows of the DuckDB table `checked`, by row number."""

    def __init__(self, database: Any, checked: str) -> None:
        self._database, self._checked = database, checked
        self._bad, self._duplicates = f"bad_{checked}", f"duplicates_{checked}"
        database.execute(f"CREATE OR REPLACE TABLE {self._bad} ({ROW} BIGINT, {ERROR} VARCHAR, {VALUE} VARCHAR, place BIGINT)")
        database.execute(f"CREATE OR REPLACE TABLE {self._duplicates} ({ROW} BIGINT)")
        self._next = 0

    def add(self, rows: Sequence[BadRow]) -> None:
        """Quarantine bad rows; a row that is added twice keeps its first row error."""
        if not rows:
            return
        numbers, errors, values = zip(*rows, strict=True)
        shown = [value[:SHOWN_CHARACTERS] for value in values]
        found = pa.table({ROW: pa.array(numbers, pa.int64()), ERROR: pa.array(errors), VALUE: pa.array(shown)})
        self._database.register(_INCOMING, found)
        self.select(f"SELECT {ROW}, {ERROR}, {VALUE} FROM {_INCOMING}")
        self._database.unregister(_INCOMING)

    def select(self, query: str) -> None:
        """Quarantine the rows of a query with the columns row, error and value."""
        self._database.execute(f"""
            INSERT INTO {self._bad} SELECT {ROW}, {ERROR}, left({VALUE}, {SHOWN_CHARACTERS}), {self._next} FROM ({query})""")
        self._next += 1

    def drop(self, query: str) -> int:
        """Drop the duplicate rows whose numbers a query gives, without an error; returns how many there are."""
        return int(self._database.execute(f"INSERT INTO {self._duplicates} SELECT {ROW} FROM ({query})").fetchone()[0])

    def remove(self) -> None:
        """Delete all bad and duplicate rows from the table; the bad ones stay listed."""
        self._database.execute(f"""
            DELETE FROM {self._checked} WHERE {ROW} IN (SELECT {ROW} FROM {self._bad} UNION ALL SELECT {ROW} FROM {self._duplicates})""")
        self._database.execute(f"DELETE FROM {self._duplicates}")

    def between(self, start: int, end: int) -> Iterator[BadRow]:
        """The bad rows with start <= number < end, ascending."""
        found = self._database.cursor().execute(f"""
            SELECT {ROW}, arg_min({ERROR}, place), arg_min({VALUE}, place) FROM {self._bad}
            WHERE {ROW} >= {start} AND {ROW} < {end} GROUP BY {ROW} ORDER BY {ROW}""")
        while rows := found.fetchmany(10_000):
            yield from (BadRow(*row) for row in rows)


def write_bad_rows(path: Path, errors: Mapping[str, Iterable[DataError]]) -> None:
    """Write row errors by table as JSON lines: code, table, file, line, column, value and message of each bad row."""
    with storage.publish_file(path) as written, written.open("w") as file:
        for table, bad in errors.items():
            for error in bad:
                place = asdict(error.place) if error.place else {}
                row = {"code": error.code, "table": table, **place, "message": error.message}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
