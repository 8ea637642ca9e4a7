"""Defaults for missing data: columns derived from others, and users and items derived from events.

Past events count as known at their event time: to a point-in-time join, a file read today must not look as if it were unknown before.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lodestar import schema
from lodestar.data.contract.cells.sql import quoted
from lodestar.schema.ids import SESSION_PREFIX

EVENT_ID_DIGITS = 24  # hexadecimal: the probability of a collision among a billion rows is 1e-11
SEPARATOR = "chr(31)"
HASH = "hash_of_row"
FIRST = "first_event"
REPEATS, SEEN = "repeats", "seen_events"
SQL_TYPES = {
    schema.Kind.ID: "VARCHAR",
    schema.Kind.TEXT: "VARCHAR",
    schema.Kind.TIME: "BIGINT",
    schema.Kind.FLOAT: "DOUBLE",
    schema.Kind.INT: "BIGINT",
    schema.Kind.BOOL: "BOOLEAN",
    schema.Kind.TEXT_LIST: "VARCHAR[]",
    schema.Kind.FLOAT_LIST: "FLOAT[]",
    schema.Kind.STRING_MAP: "MAP(VARCHAR, VARCHAR)",
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a column is derived: in words, and in SQL over the table's other columns."""

    description: str
    sql: str


def _same_as(column: str, description: str) -> Rule:
    return Rule(description=description, sql=quoted(column))


_FIRST_EVENT = Rule(description="the first event that names it", sql=FIRST)
_UPDATED = _same_as(schema.CREATED_AT, "created_at")
_KNOWN = _same_as(schema.UPDATED_AT, "updated_at: history is known when it happened")
_YES = "true"
_SESSION = Rule(description="the session, where there is no user", sql=f"'{SESSION_PREFIX}' || {quoted(schema.SESSION_ID)}")

# In this order: a rule may use a column that an earlier one derived.
RULES: dict[str, dict[str, Rule]] = {
    schema.USERS.name: {
        schema.CREATED_AT: _FIRST_EVENT,
        schema.UPDATED_AT: _UPDATED,
        schema.INGESTED_AT: _KNOWN,
        schema.CONSENT_PERSONALISE: Rule(description="true, as no objection is given", sql=_YES),
    },
    schema.ITEMS.name: {
        schema.ITEM_TYPE: Rule(description="product", sql="'product'"),
        schema.TITLE: _same_as(schema.ITEM_ID, "the item's id"),
        schema.CREATED_AT: _FIRST_EVENT,
        schema.UPDATED_AT: _UPDATED,
        schema.INGESTED_AT: _KNOWN,
        schema.IS_ACTIVE: Rule(description="true", sql=_YES),
    },
    schema.EVENTS.name: {
        schema.USER_ID: _SESSION,
        schema.EVENT_TYPE: Rule(description="rating, as there are ratings", sql=f"'{schema.EventType.RATING}'"),
        schema.EVENT_ID: Rule(description="a hash of the row and its occurrence in the file", sql=HASH),
        schema.INGESTED_AT: _same_as(schema.EVENT_TIME, "event_time: history is known when it happened"),
    },
    schema.IMPRESSIONS.name: {
        schema.USER_ID: _SESSION,
        schema.INGESTED_AT: _same_as(schema.SHOWN_AT, "shown_at: history is known when it happened"),
    },
    schema.ITEM_CONTENT.name: {
        schema.DIM: Rule(description="the length of the embedding", sql=f"coalesce(len({quoted(schema.EMBEDDING)}), 0)"),
        schema.CONTENT_HASH: Rule(
            description="a hash of text, address and embedding",
            sql=f"md5(concat_ws({SEPARATOR}, {quoted(schema.TEXT)}, {quoted(schema.URI)}, {quoted(schema.EMBEDDING)}::VARCHAR))",
        ),
        schema.INGESTED_AT: _FIRST_EVENT,
    },
    schema.RELATIONS.name: {
        schema.INGESTED_AT: _same_as(schema.VALID_FROM, "valid_from: history is known when it happened"),
    },
    schema.GOALS.name: {schema.INGESTED_AT: Rule(description="the user's first event", sql=FIRST)},
    schema.ERASURES.name: {schema.INGESTED_AT: _same_as(schema.REQUESTED_AT, "requested_at")},
}


def checked_name(table: schema.Table) -> str:
    """Name of the DuckDB table that holds a table's validated rows."""
    return f"checked_{table.name}"


def required_columns(table: schema.Table, present: Collection[str]) -> list[str]:
    """The columns a file must have, as they cannot be derived: session_id replaces user_id, rating replaces event_type."""
    derivable = set(RULES[table.name])
    if schema.SESSION_ID not in present:
        derivable.discard(schema.USER_ID)
    if table is not schema.EVENTS:
        return [name for name in table.required if name not in derivable]
    if schema.RATING not in present:
        derivable.remove(schema.EVENT_TYPE)
    # A log of searches or follows names no item; the row rules say which of its events need one.
    if schema.QUERY_TEXT in present or schema.TARGET_USER_ID in present:
        derivable.add(schema.ITEM_ID)
    return [name for name in (schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME) if name not in derivable]


def derived_columns(table: schema.Table, complete: Collection[str]) -> dict[str, str]:
    """Descriptions of how each column was derived that not every file has, by column."""
    return {name: rule.description for name, rule in RULES[table.name].items() if name not in complete}


def completed_sql(database: Any, table: schema.Table, present: Collection[str], complete: Collection[str]) -> str:
    """SQL of `row` and all columns of the contract, missing ones derived, over the validated rows in `checked_…`.

    `present` are the columns that some file has, `complete` those that all rows have.
    """
    checked = checked_name(table)
    if table is not schema.EVENTS:
        source = _with_first_event(table, checked)
    elif schema.EVENT_ID in complete:
        source = f"SELECT * FROM {checked}"
    else:
        source = _with_event_id(checked, present, has_repeats=has_repeats(database))
    return f"SELECT row, {_columns(table)} FROM ({_apply_rules(table, source, present, complete)})"


def ids_from_events(table: schema.Table, present: Collection[str]) -> str:
    """SQL of users or items derived from events, with `row`, the row of the first event of each; `present` are the events' columns.

    An event without a user has its session as user.
    """
    key = quoted(table.key[0])
    named = [key] if table.key[0] in present else []
    named += [_SESSION.sql] if table is schema.USERS and schema.SESSION_ID in present else []
    source = f"""
        SELECT {key}, min(row) AS row, min({quoted(schema.EVENT_TIME)}) AS {FIRST}
        FROM (SELECT row, {quoted(schema.EVENT_TIME)}, coalesce({", ".join((*named, "NULL"))}) AS {key} FROM {checked_name(schema.EVENTS)})
        WHERE {key} IS NOT NULL GROUP BY {key}"""
    return f"SELECT row, {_columns(table)} FROM ({_apply_rules(table, source, table.key, table.key)})"


def _apply_rules(table: schema.Table, source: str, present: Collection[str], complete: Collection[str]) -> str:
    """One layer of SELECT per rule, each of which may use the ones before; a value in a file takes precedence."""
    rules = RULES[table.name]
    absent = [column for column in table.columns if column.name not in present and column.name not in rules]
    nulls = "".join(f", NULL::{SQL_TYPES[column.kind]} AS {quoted(column.name)}" for column in absent)
    query = f"SELECT *{nulls} FROM ({source})"
    for name, rule in rules.items():
        if name not in present:
            query = f"SELECT *, {rule.sql} AS {quoted(name)} FROM ({query})"
        elif name not in complete:
            query = f"SELECT * REPLACE (coalesce({quoted(name)}, {rule.sql}) AS {quoted(name)}) FROM ({query})"
    return query


def _columns(table: schema.Table) -> str:
    return ", ".join(f"{quoted(column.name)}::{SQL_TYPES[column.kind]} AS {quoted(column.name)}" for column in table.columns)


def create_events_view(database: Any, present: Collection[str], stored: str) -> None:
    """Create the view SEEN of all events (user, item, time): those in `checked_…` with the columns `present`, and the query `stored`."""
    names = (schema.USER_ID, schema.ITEM_ID, schema.EVENT_TIME)
    found = [f"SELECT {', '.join(map(quoted, names))} FROM ({stored})"] if stored else []
    if present:
        values = ", ".join(quoted(name) if name in present else f"NULL::VARCHAR AS {quoted(name)}" for name in names)
        found.append(f"SELECT {values} FROM {checked_name(schema.EVENTS)}")
    database.execute(f"CREATE OR REPLACE VIEW {SEEN} AS {' UNION ALL '.join(found)}")


def _with_first_event(table: schema.Table, checked: str) -> str:
    """Each row with the time of the first event of its key; of the first event of all where its key has none."""
    if FIRST not in (rule.sql for rule in RULES[table.name].values()):
        return f"SELECT * FROM {checked}"
    key, time = quoted(table.key[0]), quoted(schema.EVENT_TIME)
    return f"""
        SELECT {checked}.*, coalesce(firsts.time, (SELECT min({time}) FROM {SEEN})) AS {FIRST}
        FROM {checked} LEFT JOIN (SELECT {key}, min({time}) AS time FROM {SEEN} GROUP BY {key}) AS firsts USING ({key})"""


def find_repeats(database: Any, present: Collection[str], starts: Sequence[int]) -> str:
    """Create the table REPEATS, which numbers identical events without an id within each file; SQL of those that an earlier file has too.

    `starts` are the first rows of the files. Event ids are then the same whether files are ingested together or one after the other.
    """
    import pyarrow as pa

    checked, content = checked_name(schema.EVENTS), _content(present)
    unnamed = f"{quoted(schema.EVENT_ID)} IS NULL" if schema.EVENT_ID in present else "true"
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE suspects AS
        SELECT digest FROM (SELECT hash({content}) AS digest FROM {checked} WHERE {unnamed}) GROUP BY digest HAVING count(*) > 1""")
    database.register("starts", pa.table({"row": pa.array(sorted(set(starts)), pa.int64())}))
    database.execute(f"""
        CREATE OR REPLACE TEMP TABLE {REPEATS} AS
        SELECT row, digest, row_number() OVER (PARTITION BY digest, start ORDER BY row) AS occurrence FROM (
            SELECT likely.row, starts.row AS start, md5({content}) AS digest
            FROM (SELECT * FROM {checked} WHERE {unnamed} AND hash({content}) IN (SELECT digest FROM suspects)) AS likely
            ASOF JOIN starts ON likely.row >= starts.row)""")
    database.unregister("starts")
    return f"SELECT row FROM {REPEATS} QUALIFY row_number() OVER (PARTITION BY digest, occurrence ORDER BY row) > 1"


def has_repeats(database: Any) -> bool:
    """Whether `find_repeats` found identical events without an id."""
    return bool(database.execute(f"SELECT count(*) FROM {REPEATS}").fetchone()[0])


def _content(present: Collection[str]) -> str:
    """SQL of an event's content as one text, independent of the order of columns."""
    columns = [name for name in schema.EVENTS.names if name not in {schema.EVENT_ID, schema.INGESTED_AT, schema.ATTRS}]
    content = ", ".join(f"coalesce({quoted(name)}::VARCHAR, '')" if name in present else "''" for name in columns)
    attrs = f", {quoted(schema.ATTRS)}::VARCHAR" if schema.ATTRS in present else ""
    return f"concat_ws({SEPARATOR}, {content}{attrs})"


def _with_event_id(checked: str, present: Collection[str], *, has_repeats: bool) -> str:
    """Each event with its id, a hash of its content; the second and further identical ones in a file get a number as suffix."""
    plain = f"md5({_content(present)})[:{EVENT_ID_DIGITS}]"
    if not has_repeats:
        return f"SELECT *, {plain} AS {HASH} FROM {checked}"
    number = "CASE WHEN occurrence > 1 THEN '-' || occurrence ELSE '' END"
    return f"SELECT * EXCLUDE (digest, occurrence), {plain} || {number} AS {HASH} FROM {checked} LEFT JOIN {REPEATS} USING (row)"
