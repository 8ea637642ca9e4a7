"""Old rows and new ones of a table that has one row per key: the later state of each stays."""

from collections.abc import Sequence
from pathlib import Path

from lodestar import schema
from lodestar.data.conversions import quoted


def stored(table: schema.Table, paths: Sequence[Path]) -> str:
    """SQL of what is in the parts, times in µs as in the tables that are being checked."""
    columns = ", ".join(
        f"epoch_us({quoted(column.name)}) AS {quoted(column.name)}" if column.kind is schema.Kind.TIME else quoted(column.name)
        for column in table.columns
    )
    files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"SELECT {columns} FROM read_parquet([{files}])"


def merged(table: schema.Table, new: str, stored: str, *, by_events: bool) -> str:
    """SQL of one row per key with its place as `row`: of the old and the new one that which was updated last, of equals the new one.

    `by_events` says that only events name both: then it is the earlier one, which the first event names.
    """
    keys = ", ".join(map(quoted, table.key))
    moment = quoted(schema.UPDATED_AT if schema.UPDATED_AT in table.names else schema.INGESTED_AT)
    order = f"{moment}, is_new" if by_events else f"{moment} DESC, is_new DESC"
    old = f"SELECT row_number() OVER () AS row, * FROM ({stored})"
    return f"""
        SELECT * EXCLUDE (is_new, row), min(row) OVER (PARTITION BY {keys}) AS row FROM (
            SELECT *, false AS is_new FROM ({old})
            UNION ALL BY NAME SELECT * REPLACE (row + (1::BIGINT << 40) AS row), true AS is_new FROM ({new}))
        QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"""
