"""What a file need not say: columns that follow from others, and users and items that only the events name.

History is treated as known when it happened: a file read today must not look, to a point-in-time join, as if nobody had known it before.
"""

from collections.abc import Collection
from dataclasses import dataclass

from lodestar import schema
from lodestar.data.conversions import quoted

EVENT_ID_DIGITS = 24  # hexadecimal: at a billion rows two would share an id with a chance of 1e-11
SEPARATOR = "chr(31)"
HASH = "hash_of_row"
FIRST = "first_event"
SQL_TYPES = {
    schema.Kind.ID: "VARCHAR",
    schema.Kind.TEXT: "VARCHAR",
    schema.Kind.TIME: "BIGINT",
    schema.Kind.FLOAT: "DOUBLE",
    schema.Kind.INT: "BIGINT",
    schema.Kind.BOOL: "BOOLEAN",
    schema.Kind.TEXTS: "VARCHAR[]",
    schema.Kind.FLOATS: "FLOAT[]",
    schema.Kind.PAIRS: "MAP(VARCHAR, VARCHAR)",
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a column comes about: in words, and in SQL over the table's other columns."""

    says: str
    sql: str


def _same_as(column: str, says: str) -> Rule:
    return Rule(says=says, sql=quoted(column))


_FIRST_EVENT = Rule(says="the first event that names it", sql=FIRST)
_UPDATED = _same_as(schema.CREATED_AT, "created_at")
_KNOWN = _same_as(schema.UPDATED_AT, "updated_at: history is known when it happened")
_YES = "true"

# In this order: a rule may use what an earlier one derived.
RULES: dict[str, dict[str, Rule]] = {
    schema.USERS.name: {
        schema.CREATED_AT: _FIRST_EVENT,
        schema.UPDATED_AT: _UPDATED,
        schema.INGESTED_AT: _KNOWN,
        schema.CONSENT_PERSONALISE: Rule(says="true, as nobody is said to object", sql=_YES),
    },
    schema.ITEMS.name: {
        schema.ITEM_TYPE: Rule(says="product", sql="'product'"),
        schema.TITLE: _same_as(schema.ITEM_ID, "the item's id"),
        schema.CREATED_AT: _FIRST_EVENT,
        schema.UPDATED_AT: _UPDATED,
        schema.INGESTED_AT: _KNOWN,
        schema.IS_ACTIVE: Rule(says="true", sql=_YES),
    },
    schema.EVENTS.name: {
        schema.EVENT_TYPE: Rule(says="rating, as there are ratings", sql=f"'{schema.EventType.RATING}'"),
        schema.EVENT_ID: Rule(says="a hash of the row and its occurrence", sql=HASH),
        schema.INGESTED_AT: _same_as(schema.EVENT_TIME, "event_time: history is known when it happened"),
    },
    schema.IMPRESSIONS.name: {
        schema.INGESTED_AT: _same_as(schema.SHOWN_AT, "shown_at: history is known when it happened"),
    },
    schema.ITEM_CONTENT.name: {
        schema.DIM: Rule(says="the length of the embedding", sql=f"coalesce(len({quoted(schema.EMBEDDING)}), 0)"),
        schema.CONTENT_HASH: Rule(
            says="a hash of text, address and embedding",
            sql=f"md5(concat_ws({SEPARATOR}, {quoted(schema.TEXT)}, {quoted(schema.URI)}, {quoted(schema.EMBEDDING)}::VARCHAR))",
        ),
        schema.INGESTED_AT: _FIRST_EVENT,
    },
    schema.RELATIONS.name: {
        schema.INGESTED_AT: _same_as(schema.VALID_FROM, "valid_from: history is known when it happened"),
    },
    schema.GOALS.name: {schema.INGESTED_AT: _FIRST_EVENT},
    schema.ERASURES.name: {schema.INGESTED_AT: _same_as(schema.REQUESTED_AT, "requested_at")},
}


def needed(table: schema.Table, present: Collection[str]) -> list[str]:
    """The columns that nothing can stand for; an event has a rating where it has no type, and a column of items."""
    derivable = set(RULES[table.name])
    if table is not schema.EVENTS:
        return [name for name in table.required if name not in derivable]
    if schema.RATING not in present:
        derivable.remove(schema.EVENT_TYPE)
    return [name for name in (schema.USER_ID, schema.ITEM_ID, schema.EVENT_TYPE, schema.EVENT_TIME) if name not in derivable]


def derived(table: schema.Table, present: Collection[str]) -> dict[str, str]:
    """In words, how each required column comes about that the file does not have."""
    return {name: rule.says for name, rule in RULES[table.name].items() if name not in present}


def completed(table: schema.Table, checked: str, present: Collection[str]) -> str:
    """SQL of all the table's columns, in the order of the file."""
    if table is schema.EVENTS:
        source = _hashed(checked, present) if schema.EVENT_ID not in present else checked
    else:
        source = _with_first_event(table, checked)
    return f"SELECT {_columns(table, present)} FROM ({_ruled(table, source, present)}) ORDER BY row"


def named_by_events(table: schema.Table) -> str:
    """SQL of users or items, in the order in which the events name them first."""
    key = quoted(table.key[0])
    source = f"""
        SELECT {key}, min(row) AS row, min({quoted(schema.EVENT_TIME)}) AS {FIRST}
        FROM checked_{schema.EVENTS.name} WHERE {key} IS NOT NULL GROUP BY {key}"""
    return f"SELECT {_columns(table, table.key)} FROM ({_ruled(table, f'({source})', table.key)}) ORDER BY row"


def _ruled(table: schema.Table, source: str, present: Collection[str]) -> str:
    """One layer of SELECT per rule, each of which may use the ones before."""
    query = f"SELECT * FROM {source}"
    for name, rule in RULES[table.name].items():
        if name not in present:
            query = f"SELECT *, {rule.sql} AS {quoted(name)} FROM ({query})"
    return query


def _columns(table: schema.Table, present: Collection[str]) -> str:
    known = {*present, *RULES[table.name]}
    columns = []
    for column in table.columns:
        value = quoted(column.name) if column.name in known else "NULL"
        columns.append(f"{value}::{SQL_TYPES[column.kind]} AS {quoted(column.name)}")
    return ", ".join(columns)


def _with_first_event(table: schema.Table, checked: str) -> str:
    """Each row beside the first event that names it; the first of all events where none does."""
    if FIRST not in (rule.sql for rule in RULES[table.name].values()):
        return checked
    key, time = quoted(table.key[0]), quoted(schema.EVENT_TIME)
    events = f"checked_{schema.EVENTS.name}"
    return f"""(
        SELECT {checked}.*, coalesce(firsts.time, (SELECT min({time}) FROM {events})) AS {FIRST}
        FROM {checked} LEFT JOIN (SELECT {key}, min({time}) AS time FROM {events} GROUP BY {key}) AS firsts USING ({key}))"""


def _hashed(checked: str, present: Collection[str]) -> str:
    """Each event beside its id: the same content in any order of columns gives the same id, a repeat gets a number behind it."""
    own = [name for name in schema.EVENTS.names if name not in {schema.EVENT_ID, schema.INGESTED_AT}]
    content = ", ".join(f"coalesce({quoted(name)}::VARCHAR, '')" if name in present else "''" for name in own)
    row = f"concat_ws({SEPARATOR}, {content})"
    return f"""(
        WITH short AS (SELECT row, md5_number_lower({row}) AS digest FROM {checked}),
        repeats AS (
            SELECT row, row_number() OVER (PARTITION BY digest ORDER BY row) AS occurrence
            FROM short WHERE digest IN (SELECT digest FROM short GROUP BY digest HAVING count(*) > 1))
        SELECT *, md5({row})[:{EVENT_ID_DIGITS}] || CASE WHEN occurrence > 1 THEN '-' || occurrence ELSE '' END AS {HASH}
        FROM {checked} LEFT JOIN repeats USING (row))"""
