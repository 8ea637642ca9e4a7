"""Validation across the rows of a table: duplicate keys, embedding lengths that differ, cycles of prerequisites."""

from collections.abc import Sequence
from typing import Any

from lodestar import schema
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.quarantine import ERROR, ROW, VALUE, BadRow, Quarantine

PREREQUISITE = "prerequisite"


def duplicates(database: Any, table: schema.Table, checked: str, present: Sequence[str], bad_rows: Quarantine) -> int:
    """Quarantine good rows of `checked` that repeat an earlier row's key with other content (E120); ingested_at is not compared.

    Rows with the same content are dropped as duplicates; returns how many there are.
    """
    if any(column not in present for column in table.key):
        return 0
    keys = [quoted(column) for column in table.key]
    content = [quoted(column) for column in present if column != schema.INGESTED_AT]
    # Whole keys of a hundred million rows do not fit into memory, their hashes nearly do; few of them come twice.
    digests = f"SELECT hash({', '.join(keys)}) AS digest FROM {checked} WHERE {ERROR} IS NULL"
    database.execute(f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT digest FROM ({digests}) GROUP BY digest HAVING count(*) > 1")
    if database.execute("SELECT count(*) FROM suspects").fetchone()[0] == 0:
        return 0
    equal = " AND ".join(f"later.{key} = first.{key}" for key in keys)
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE again AS
        WITH repeated AS (SELECT * FROM {checked} WHERE {ERROR} IS NULL AND hash({", ".join(keys)}) IN (SELECT digest FROM suspects)),
        firsts AS (SELECT * FROM repeated QUALIFY row_number() OVER (PARTITION BY {", ".join(keys)} ORDER BY {ROW}) = 1)
        SELECT later.{ROW}, {_same_content(content, "later", "first")} AS is_same, later.{keys[0]}::VARCHAR AS {VALUE}
        FROM repeated AS later JOIN firsts AS first ON {equal} WHERE later.{ROW} <> first.{ROW}""")
    return _move_repeated(table, bad_rows)


def already_stored(database: Any, table: schema.Table, new: str, stored: str, bad_rows: Quarantine) -> int:
    """Quarantine rows of the query `new` whose key the query `stored` has with other content (E120); drop and count those with the same.

    Both queries give all columns of the table; ingested_at is not compared.
    """
    keys = ", ".join(map(quoted, table.key))
    content = [quoted(column) for column in table.names if column not in {schema.INGESTED_AT, *table.key}]
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE again AS
        SELECT new.{ROW}, {_same_content(content, "new", "stored")} AS is_same, new.{quoted(table.key[0])}::VARCHAR AS {VALUE}
        FROM ({new}) AS new JOIN ({stored}) AS stored USING ({keys})""")
    return _move_repeated(table, bad_rows)


def _same_content(content: Sequence[str], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{column} IS NOT DISTINCT FROM {other}.{column}" for column in content)


def _move_repeated(table: schema.Table, bad_rows: Quarantine) -> int:
    bad_rows.select(f"SELECT {ROW}, 'E120:{table.key[0]}' AS {ERROR}, {VALUE} FROM again WHERE NOT is_same")
    return bad_rows.drop(f"SELECT {ROW} FROM again WHERE is_same")


def embedding_length_mismatches(database: Any, checked: str, present: Sequence[str]) -> list[BadRow]:
    """E130 for embeddings whose length differs from the first one of the same encoder version."""
    if schema.EMBEDDING not in present:
        return []
    length = f"len({quoted(schema.EMBEDDING)})"
    first = f"first_value({length}) OVER (PARTITION BY {quoted(schema.ENCODER)}, {quoted(schema.ENCODER_VERSION)} ORDER BY {ROW})"
    rows = database.execute(f"""
        SELECT {ROW}, {length} FROM {checked} WHERE {ERROR} IS NULL AND {quoted(schema.EMBEDDING)} IS NOT NULL
        QUALIFY {length} <> {first} ORDER BY {ROW}""").fetchall()
    return [BadRow(row, f"E130:{schema.EMBEDDING}", f"{found} numbers") for row, found in rows]


def cycles(database: Any, checked: str) -> list[BadRow]:
    """E140 for the relation that closes each cycle of prerequisites, in the order of the file; the value shows the cycle."""
    edges = database.execute(f"""
        SELECT {ROW}, {quoted(schema.SRC_ID)}, {quoted(schema.DST_ID)} FROM {checked}
        WHERE {ERROR} IS NULL AND {quoted(schema.KIND)} = '{PREREQUISITE}' ORDER BY {ROW}""").fetchall()
    successors: dict[str, list[str]] = {}
    closing_rows = []
    for row, source, target in edges:
        path = _path(successors, target, source)
        if path:
            closing_rows.append(BadRow(row, f"E140:{schema.DST_ID}", " → ".join([source, *path])))
        else:
            successors.setdefault(source, []).append(target)
    return closing_rows


def _path(successors: dict[str, list[str]], start: str, end: str) -> list[str]:
    """A path along the edges from `start` to `end`, both included (depth first); empty where there is none."""
    previous: dict[str, str | None] = {start: None}
    stack = [start]
    while stack:
        node = stack.pop()
        if node == end:
            path: list[str] = []
            step: str | None = node
            while step is not None:
                path.append(step)
                step = previous[step]
            return path[::-1]
        for successor in successors.get(node, ()):
            if successor not in previous:
                previous[successor] = node
                stack.append(successor)
    return []
