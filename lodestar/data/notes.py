"""What a person should know of data that are good: what they lack, and what they name that is not there."""

from typing import Any

from lodestar import schema
from lodestar.data.checks import Checked, checked_name
from lodestar.data.conversions import quoted


def lacking(database: Any, checked: Checked) -> list[str]:
    """Event types whose further needs the files have no column for."""
    if checked.table is not schema.EVENTS or schema.EVENT_TYPE not in checked.columns:
        return []
    types = quoted(schema.EVENT_TYPE)
    rows = database.execute(f"SELECT {types}, count(*) FROM {checked.name} WHERE {types} IS NOT NULL GROUP BY 1 ORDER BY 1").fetchall()
    notes = []
    for kind, count in rows:
        missing = [name for name in schema.NEEDS[schema.EventType(kind)] if name not in checked.columns]
        if missing:
            notes.append(f"{count:,} events of type {kind} without {', '.join(missing)}, which the file has no column for")
    return notes


def unknown(database: Any, table: schema.Table) -> list[str]:
    """Events that name what the given table does not have; they are kept and joined when it arrives."""
    if table not in (schema.USERS, schema.ITEMS):
        return []
    key = quoted(table.key[0])
    known = database.execute("SELECT count(*) FROM duckdb_columns() WHERE table_name = ? AND column_name = ?", [_EVENTS, table.key[0]])
    if not known.fetchone()[0]:
        return []
    query = f"""
        SELECT count(*) FROM {_EVENTS} AS events
        WHERE {key} IS NOT NULL AND {key} NOT IN (SELECT {key} FROM {checked_name(table)})"""
    count = database.execute(query).fetchone()[0]
    return [f"{count:,} events name {table.name} that are not here; they are kept and joined when these arrive"] if count else []


_EVENTS = checked_name(schema.EVENTS)
