"""What only all rows of a table together can show: a key twice, embeddings of two lengths, prerequisites that run in a circle."""

from collections.abc import Sequence
from typing import Any

from lodestar import schema
from lodestar.data.aside import OFFENCE, ROW, VALUE, Aside, Bad
from lodestar.data.conversions import quoted

PREREQUISITE = "prerequisite"


def duplicates(database: Any, table: schema.Table, name: str, present: Sequence[str], aside: Aside) -> int:
    """Set aside good rows of `name` whose key came before with other content (ingested_at aside: when it was delivered).

    Those with the same content are dropped; how many these are.
    """
    if any(column not in present for column in table.key):
        return 0
    keys = [quoted(column) for column in table.key]
    content = [quoted(column) for column in present if column != schema.INGESTED_AT]
    # Whole keys of a hundred million rows do not fit into memory, their hashes nearly do; few of them come twice.
    digests = f"SELECT hash({', '.join(keys)}) AS digest FROM {name} WHERE {OFFENCE} IS NULL"
    database.execute(f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT digest FROM ({digests}) GROUP BY digest HAVING count(*) > 1")
    if database.execute("SELECT count(*) FROM suspects").fetchone()[0] == 0:
        return 0
    equal = " AND ".join(f"later.{key} = first.{key}" for key in keys)
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE again AS
        WITH repeated AS (SELECT * FROM {name} WHERE {OFFENCE} IS NULL AND hash({", ".join(keys)}) IN (SELECT digest FROM suspects)),
        firsts AS (SELECT * FROM repeated QUALIFY row_number() OVER (PARTITION BY {", ".join(keys)} ORDER BY {ROW}) = 1)
        SELECT later.{ROW}, {_same(content, "later", "first")} AS is_same, later.{keys[0]}::VARCHAR AS {VALUE}
        FROM repeated AS later JOIN firsts AS first ON {equal} WHERE later.{ROW} <> first.{ROW}""")
    return _set_aside(table, aside)


def stored_before(database: Any, table: schema.Table, new: str, stored: str, aside: Aside) -> int:
    """The same of rows of the query `new` whose key is in `stored`, SQL of the same columns."""
    keys = ", ".join(map(quoted, table.key))
    content = [quoted(column) for column in table.names if column not in {schema.INGESTED_AT, *table.key}]
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE again AS
        SELECT new.{ROW}, {_same(content, "new", "stored")} AS is_same, new.{quoted(table.key[0])}::VARCHAR AS {VALUE}
        FROM ({new}) AS new JOIN ({stored}) AS stored USING ({keys})""")
    return _set_aside(table, aside)


def _same(content: Sequence[str], one: str, other: str) -> str:
    return " AND ".join(f"{one}.{column} IS NOT DISTINCT FROM {other}.{column}" for column in content)


def _set_aside(table: schema.Table, aside: Aside) -> int:
    aside.select(f"SELECT {ROW}, 'E120:{table.key[0]}' AS {OFFENCE}, {VALUE} FROM again WHERE NOT is_same")
    return aside.drop(f"SELECT {ROW} FROM again WHERE is_same")


def odd_embeddings(database: Any, name: str, present: Sequence[str]) -> list[Bad]:
    """Embeddings whose length is not that of the first one by the same encoder version."""
    if schema.EMBEDDING not in present:
        return []
    length = f"len({quoted(schema.EMBEDDING)})"
    first = f"first_value({length}) OVER (PARTITION BY {quoted(schema.ENCODER)}, {quoted(schema.ENCODER_VERSION)} ORDER BY {ROW})"
    rows = database.execute(f"""
        SELECT {ROW}, {length} FROM {name} WHERE {OFFENCE} IS NULL AND {quoted(schema.EMBEDDING)} IS NOT NULL
        QUALIFY {length} <> {first} ORDER BY {ROW}""").fetchall()
    return [Bad(row, f"E130:{schema.EMBEDDING}", f"{found} numbers") for row, found in rows]


def circles(database: Any, name: str) -> list[Bad]:
    """Of each circle of prerequisites the relation that closes it, in the order of the file; the value shows the circle."""
    edges = database.execute(f"""
        SELECT {ROW}, {quoted(schema.SRC_ID)}, {quoted(schema.DST_ID)} FROM {name}
        WHERE {OFFENCE} IS NULL AND {quoted(schema.KIND)} = '{PREREQUISITE}' ORDER BY {ROW}""").fetchall()
    after: dict[str, list[str]] = {}
    closing = []
    for row, source, target in edges:
        path = _path(after, target, source)
        if path:
            closing.append(Bad(row, f"E140:{schema.DST_ID}", " → ".join([source, *path])))
        else:
            after.setdefault(source, []).append(target)
    return closing


def _path(after: dict[str, list[str]], start: str, end: str) -> list[str]:
    """A way along the edges, both ends included; empty where there is none."""
    came_from: dict[str, str | None] = {start: None}
    waiting = [start]
    while waiting:
        here = waiting.pop()
        if here == end:
            path: list[str] = []
            step: str | None = here
            while step is not None:
                path.append(step)
                step = came_from[step]
            return path[::-1]
        for there in after.get(here, ()):
            if there not in came_from:
                came_from[there] = here
                waiting.append(there)
    return []
