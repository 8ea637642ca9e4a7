"""Rows of one table that are not kept: bad ones with why, and copies, which are only counted. They lie on disk, as the table does."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

ROW, OFFENCE, VALUE = "row", "offence", "value"
SHOWN_CHARACTERS = 1000
_INCOMING = "bad_rows"


class Bad(NamedTuple):
    """A row, its offence as `code:column`, and the value as far as it is worth showing."""

    row: int
    offence: str
    value: str


class Aside:
    """What is set aside of the table `checked`, whose rows are numbered."""

    def __init__(self, database: Any, checked: str) -> None:
        self._database, self._checked = database, checked
        self._bad, self._copies = f"bad_{checked}", f"copies_{checked}"
        database.execute(f"CREATE OR REPLACE TABLE {self._bad} ({ROW} BIGINT, {OFFENCE} VARCHAR, {VALUE} VARCHAR, place BIGINT)")
        database.execute(f"CREATE OR REPLACE TABLE {self._copies} ({ROW} BIGINT)")
        self._next = 0

    def add(self, rows: Sequence[Bad]) -> None:
        """Set bad rows aside; of those that are set aside twice the first offence counts."""
        if not rows:
            return
        numbers, offences, values = zip(*rows, strict=True)
        shown = [value[:SHOWN_CHARACTERS] for value in values]
        found = pa.table({ROW: pa.array(numbers, pa.int64()), OFFENCE: pa.array(offences), VALUE: pa.array(shown)})
        self._database.register(_INCOMING, found)
        self.select(f"SELECT {ROW}, {OFFENCE}, {VALUE} FROM {_INCOMING}")
        self._database.unregister(_INCOMING)

    def select(self, query: str) -> None:
        """Set aside what a query gives: row, offence and value."""
        self._database.execute(f"""
            INSERT INTO {self._bad} SELECT {ROW}, {OFFENCE}, left({VALUE}, {SHOWN_CHARACTERS}), {self._next} FROM ({query})""")
        self._next += 1

    def drop(self, query: str) -> int:
        """Leave out the rows that a query gives, which others say as well; how many these are."""
        return int(self._database.execute(f"INSERT INTO {self._copies} SELECT {ROW} FROM ({query})").fetchone()[0])

    def remove(self) -> None:
        """Take all of them out of the table."""
        self._database.execute(f"""
            DELETE FROM {self._checked} WHERE {ROW} IN (SELECT {ROW} FROM {self._bad} UNION ALL SELECT {ROW} FROM {self._copies})""")
        self._database.execute(f"DELETE FROM {self._copies}")

    def between(self, start: int, end: int) -> Iterator[Bad]:
        """The bad rows of a range of numbers, ascending."""
        found = self._database.cursor().execute(f"""
            SELECT {ROW}, arg_min({OFFENCE}, place), arg_min({VALUE}, place) FROM {self._bad}
            WHERE {ROW} >= {start} AND {ROW} < {end} GROUP BY {ROW} ORDER BY {ROW}""")
        while rows := found.fetchmany(10_000):
            yield from (Bad(*row) for row in rows)
