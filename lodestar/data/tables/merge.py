"""Merge stored and new rows of a table with one row per key: the latest state of each key is kept."""

from collections.abc import Sequence
from pathlib import Path

from lodestar import schema
from lodestar.data.contract.cells.sql import quoted


def stored_sql(table: schema.Table, paths: Sequence[Path]) -> str:
    """SQL of the rows in Parquet parts, with times in UTC µs as in tables under validation."""
    columns = ", ".join(
        f"epoch_us({quoted(column.name)}) AS {quoted(column.name)}" if column.kind is schema.Kind.TIME else quoted(column.name)
        for column in table.columns
    )
    files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"SELECT {columns} FROM read_parquet([{files}])"


def merged_sql(table: schema.Table, new: str, stored: str, *, by_events: bool) -> str:
    """SQL of one row per key, with its order as `row`: the row updated last wins, the new one on a tie.

    `by_events`: both the stored and the new rows are derived from events; then the earlier one wins, which is from the first event.
    """
    keys = ", ".join(map(quoted, table.key))
    timestamp = quoted(schema.UPDATED_AT if schema.UPDATED_AT in table.names else schema.INGESTED_AT)
    order = f"{timestamp}, is_new" if by_events else f"{timestamp} DESC, is_new DESC"
    old = f"SELECT row_number() OVER () AS row, * FROM ({stored})"
    return f"""
        SELECT * EXCLUDE (is_new, row), min(row) OVER (PARTITION BY {keys}) AS row FROM (
            SELECT *, false AS is_new FROM ({old})
            UNION ALL BY NAME SELECT * REPLACE (row + (1::BIGINT << 40) AS row), true AS is_new FROM ({new}))
        QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"""
