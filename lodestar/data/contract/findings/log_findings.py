"""Findings on whole tables of validated rows: what is right row by row and may be wrong together. One that makes results wrong is an error.

The rows are in `checked_…`; ids are compared by a folded form, without case, hyphens, spaces and leading zeros, and never merged by it.
"""

from collections.abc import Mapping
from typing import Any

from lodestar import schema
from lodestar.data.contract import defaults, rules
from lodestar.data.contract.cells.sql import quoted
from lodestar.data.contract.checks import CheckedTable
from lodestar.data.contract.defaults import checked_name
from lodestar.data.contract.findings.findings import Finding
from lodestar.errors import DataError
from lodestar.schema.time_units import SECOND_US

SPELLINGS, ONE_SECOND, FEW_JOINED, MANY_NEW, BLANK, ONE_EVENT_EACH = "E117", "E118", "E121", "E124", "E125", "E127"
JOINED_SHARE = 0.5
# A file adds many users: more than so many times those before, of whom it names hardly any.
MANY_TIMES, KNOWN_SHARE, LEAST_USERS = 2, 0.05, 20
_EVENTS = checked_name(schema.EVENTS)


def of_tables(database: Any, tables: Mapping[str, CheckedTable], stored: Mapping[str, str], errors: list[DataError]) -> list[Finding]:
    """Findings on tables, by themselves and together; those that make results wrong are added to `errors`.

    `stored` is SQL of the rows that each table had before, empty where it had none.
    """
    found: list[Finding] = []
    for name, checked in tables.items():
        found += [*checked.findings, *_of_table(database, checked)]
        if checked.table is schema.EVENTS:
            more, wrong = _many_new_users(database, checked, stored[name])
        else:
            more, wrong = _few_joined(database, checked.table, stored[name])
        found += more
        errors += wrong
    return found


def _of_table(database: Any, checked: CheckedTable) -> list[Finding]:
    """Findings on a table by itself."""
    found = _blank_cells(database, checked)
    if checked.table is schema.EVENTS:
        found += [*_missing_by_type(database, checked), *_one_second(database, checked), *_spellings(database, checked)]
        found += _one_event_each(database, checked)
    return found


def notes(database: Any, checked: CheckedTable) -> list[str]:
    """Notes on a table: events whose user or item it lacks."""
    return _unknown_references(database, checked.table)


def _blank_cells(database: Any, checked: CheckedTable) -> list[Finding]:
    """Blank cells, and cells that cannot be read, of columns that files have and that are derived."""
    derived = defaults.RULES[checked.table.name]
    found = []
    for name in checked.columns:
        if name in checked.complete or name not in derived or name == schema.USER_ID:
            continue
        has_column = " OR ".join(f"(row >= {file.start} AND row < {file.end})" for file in checked.files if name in file.columns)
        query = f"SELECT count(*) FROM {checked_name(checked.table)} WHERE {quoted(name)} IS NULL AND ({has_column})"
        if count := database.execute(query).fetchone()[0]:
            message = f"{count:,} cells of {name} have no value, and are {derived[name].description}"
            found.append(Finding(code=BLANK, table=checked.table.name, column=name, count=count, message=message))
    return found


def _missing_by_type(database: Any, checked: CheckedTable) -> list[Finding]:
    """Events that lack what their type needs, by type and column; a column that no file has counts for all events of the type."""
    if schema.EVENT_TYPE not in checked.columns:
        return []
    types, needed = quoted(schema.EVENT_TYPE), dict.fromkeys(name for group in schema.REQUIRED_COLUMNS.values() for name in group)
    counts = ", ".join(f"count({quoted(name)})" if name in checked.columns else "0" for name in needed)
    rows = database.execute(f"SELECT {types}, count(*), {counts} FROM {_EVENTS} WHERE {types} IS NOT NULL GROUP BY 1 ORDER BY 1").fetchall()
    found = []
    for kind, count, *present in rows:
        given = dict(zip(needed, present, strict=True))
        lacking = {name: count - given[name] for name in schema.REQUIRED_COLUMNS[schema.EventType(kind)] if given[name] < count}
        for name, number in lacking.items():
            message = f"{number:,} of {count:,} events of type {kind} have no {name}"
            found.append(Finding(code=rules.MISSING_FOR_TYPE, table=checked.table.name, column=name, count=number, message=message))
    return found


def _one_second(database: Any, checked: CheckedTable) -> list[Finding]:
    time = quoted(schema.EVENT_TIME)
    count, first, last = database.execute(f"SELECT count(*), min({time}), max({time}) FROM {_EVENTS}").fetchone()
    if count < 2 or first // SECOND_US != last // SECOND_US:
        return []
    message = f"all {count:,} events share one second: their order is that of the files, and no result can depend on time"
    return [Finding(code=ONE_SECOND, table=checked.table.name, column=schema.EVENT_TIME, count=count, message=message)]


def _one_event_each(database: Any, checked: CheckedTable) -> list[Finding]:
    """No user has two events: nothing follows anything, and no user can be trained on and evaluated."""
    who = [quoted(name) for name in (schema.USER_ID, schema.SESSION_ID) if name in checked.columns]
    count, users = database.execute(f"SELECT count(*), count(DISTINCT hash(coalesce({', '.join(who)}, NULL))) FROM {_EVENTS}").fetchone()
    if users < count or count < LEAST_USERS:
        return []
    message = f"each of {count:,} users has one event: there is nothing to predict from"
    return [Finding(code=ONE_EVENT_EACH, table=checked.table.name, column=schema.USER_ID, count=count, message=message)]


def _folded(name: str) -> str:
    """SQL of an id's folded form: without case and leading zeros, and without hyphens and spaces where it has letters."""
    low = f"lower({name})"
    return f"ltrim(CASE WHEN {low} <> upper({name}) THEN replace(replace({low}, '-', ''), ' ', '') ELSE {name} END, '0')"


def _spellings(database: Any, checked: CheckedTable) -> list[Finding]:
    """Ids of users and items that differ in nothing but case, hyphens, spaces or leading zeros."""
    found = []
    for name in (schema.USER_ID, schema.ITEM_ID):
        if name not in checked.columns:
            continue
        count, some = database.execute(f"""
            SELECT count(*), min([one, other], 3) FROM (
                SELECT min(id) AS one, max(id) AS other
                FROM (SELECT DISTINCT {quoted(name)} AS id FROM {_EVENTS} WHERE {quoted(name)} IS NOT NULL)
                GROUP BY {_folded("id")} HAVING count(*) > 1)""").fetchone()
        if count:
            pairs = ", ".join(f"{one!r} and {other!r}" for one, other in some)
            message = f"{count:,} ids of {name} come in several spellings, which are kept apart, such as {pairs}"
            found.append(Finding(code=SPELLINGS, table=checked.table.name, column=name, count=count, message=message))
    return found


def repeats(database: Any, checked: CheckedTable) -> int:
    """Number of events that repeat an earlier one of the same user, item and type."""
    names = [quoted(name) for name in (schema.USER_ID, schema.SESSION_ID, schema.ITEM_ID, schema.EVENT_TYPE) if name in checked.columns]
    if checked.table is not schema.EVENTS or schema.ITEM_ID not in checked.columns:
        return 0
    query = f"SELECT count(*), count(DISTINCT hash({', '.join(names)})) FROM {_EVENTS} WHERE {quoted(schema.ITEM_ID)} IS NOT NULL"
    count, once = database.execute(query).fetchone()
    return int(count - once)


def _unknown_references(database: Any, table: schema.Table) -> list[str]:
    """A note on events with a user or item that the given table lacks; they are kept, and joined once it is ingested."""
    if not _names(database, table):
        return []
    key = quoted(table.key[0])
    query = f"SELECT count(*) FROM {_EVENTS} WHERE {key} IS NOT NULL AND {key} NOT IN (SELECT {key} FROM {checked_name(table)})"
    count = database.execute(query).fetchone()[0]
    return [f"{count:,} events name {table.name} that are not here; they are kept and joined when these arrive"] if count else []


def _names(database: Any, table: schema.Table) -> bool:
    """Whether the events under validation name rows of a table, users or items."""
    if table not in (schema.USERS, schema.ITEMS):
        return False
    query = "SELECT count(*) FROM duckdb_columns() WHERE table_name = ? AND column_name = ?"
    return bool(database.execute(query, [_EVENTS, table.key[0]]).fetchone()[0])


def _few_joined(database: Any, table: schema.Table, stored: str) -> tuple[list[Finding], list[DataError]]:
    """E121 if less than half of the users or items of the events are in their table, or in the query `stored` of its earlier rows.

    An error where their ids differ in spelling alone, else a finding: rows may arrive later.
    """
    if not _names(database, table):
        return [], []
    key = quoted(table.key[0])
    known = f"SELECT {key} AS id FROM {checked_name(table)}" + (f" UNION SELECT {key} FROM ({stored})" if stored else "")
    named = f"SELECT DISTINCT {key} AS id FROM {_EVENTS} WHERE {key} IS NOT NULL"
    count, joined = database.execute(f"SELECT count(*), count(*) FILTER (id IN ({known})) FROM ({named})").fetchone()
    if joined >= JOINED_SHARE * count:
        return [], []
    alike, some = database.execute(f"""
        SELECT count(*), min([named.id, known.id], 1) FROM ({named}) AS named JOIN ({known}) AS known
        ON {_folded("named.id")} = {_folded("known.id")} WHERE named.id <> known.id""").fetchone()
    message = f"the events name {count:,} {table.name}, of which {joined:,} are in the table"
    if joined + alike < JOINED_SHARE * count:
        return [Finding(code=FEW_JOINED, table=table.name, column=table.key[0], count=count - joined, message=message)], []
    ((one, other),) = some
    remedy = f"Write an id alike in both: {one!r} of the events and {other!r} of the table are two."
    return [], [DataError("E121", f"{message}, and {alike:,} more are spelt otherwise", remedy=remedy)]


def _many_new_users(database: Any, checked: CheckedTable, stored: str) -> tuple[list[Finding], list[DataError]]:
    """E124 for a file of events that names many new users and hardly any of before; `stored` is SQL of the earlier events.

    An error where their ids differ from earlier ones in spelling alone.
    """
    if schema.USER_ID not in checked.columns or (len(checked.files) < 2 and not stored):
        return [], []
    found: list[Finding] = []
    errors: list[DataError] = []
    for file, start, num_new, num_before in _files_of_new_users(database, checked, stored):
        message = f"{file} names {num_new:,} users that were not known, where {num_before:,} were before"
        if error := _respelt(database, start, min(num_new, num_before), message):
            errors.append(error)
        elif num_new > MANY_TIMES * num_before:
            one = Finding(code=MANY_NEW, table=checked.table.name, column=schema.USER_ID, count=num_new, message=message, places=(file,))
            found.append(one)
    return found, errors


def _files_of_new_users(database: Any, checked: CheckedTable, stored: str) -> list[tuple[str, int, int, int]]:
    """File, first row, and number of new and of earlier users of each file that names hardly any earlier one."""
    import pyarrow as pa

    key, starts = quoted(schema.USER_ID), [one.start for one in checked.files]
    database.register("files", pa.table({"file": [one.file for one in checked.files], "start": pa.array(starts, pa.int64())}))
    known = f"SELECT DISTINCT {key} AS id, -1::BIGINT AS start FROM ({stored}) UNION ALL" if stored else ""
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE users_of_files AS
        SELECT id, start, min(start) OVER (PARTITION BY id) AS first FROM (
            {known} SELECT DISTINCT {key} AS id, files.start FROM {_EVENTS} AS events ASOF JOIN files ON events.row >= files.start
            WHERE {key} IS NOT NULL)""")
    found: list[tuple[str, int, int, int]] = database.execute(f"""
        SELECT file, start, num_new, num_before FROM (
            SELECT start, num_users, num_new, coalesce(sum(num_new) OVER (ORDER BY start) - num_new, 0)::BIGINT AS num_before
            FROM (SELECT start, count(*) AS num_users, count(*) FILTER (first = start) AS num_new FROM users_of_files GROUP BY start))
        JOIN files USING (start)
        WHERE num_before >= {LEAST_USERS} AND num_new >= {LEAST_USERS} AND num_users - num_new < {KNOWN_SHARE} * num_users
        ORDER BY start""").fetchall()
    database.unregister("files")
    return found


def _respelt(database: Any, start: int, num_users: int, message: str) -> DataError | None:
    """The error of a file that names at least half of `num_users` in another spelling than before, None for another file."""
    alike, some = database.execute(f"""
        SELECT count(DISTINCT before.id), min([later.id, before.id], 1)
        FROM users_of_files AS later JOIN (SELECT DISTINCT id FROM users_of_files WHERE first < {start}) AS before
        ON {_folded("later.id")} = {_folded("before.id")} WHERE later.start = {start} AND later.first = {start}""").fetchone()
    if alike < max(1, JOINED_SHARE * num_users):
        return None
    ((one, other),) = some
    return DataError("E124", message, remedy=f"Write an id alike in all files: {one!r} and {other!r} are two.")
