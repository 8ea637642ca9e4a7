"""Notes of the ingest report on valid data: columns that an event type requires and references to unknown users or items."""

from typing import Any

from lodestar import schema
from lodestar.data.contract.checks import CheckedTable
from lodestar.data.contract.conversions import quoted
from lodestar.data.contract.defaults import checked_name


def missing_columns_by_type(database: Any, checked: CheckedTable) -> list[str]:
    """A note for each event type that requires columns which no file has."""
    if checked.table is not schema.EVENTS or schema.EVENT_TYPE not in checked.columns:
        return []
    types = quoted(schema.EVENT_TYPE)
    rows = database.execute(f"SELECT {types}, count(*) FROM {_EVENTS} WHERE {types} IS NOT NULL GROUP BY 1 ORDER BY 1").fetchall()
    notes = []
    for kind, count in rows:
        missing = [name for name in schema.REQUIRED_COLUMNS[schema.EventType(kind)] if name not in checked.columns]
        if missing:
            notes.append(f"{count:,} events of type {kind} without {', '.join(missing)}, which the file has no column for")
    return notes


def unknown_references(database: Any, table: schema.Table) -> list[str]:
    """A note on events with a user or item that the given table lacks; they are kept, and joined once it is ingested."""
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
