"""Page of the tables of the data contract: types of values, every column of every table, event types."""

from docs.generate.markdown import code, paragraph, sentence, table
from lodestar import schema
from lodestar.data.contract.defaults import RULES, required_columns
from lodestar.data.contract.row_errors import FORMS, KINDS
from lodestar.data.contract.rules import FIRST_YEAR
from lodestar.schema import aliases

INTRODUCTION = """Every column and event type of the data contract. `lodestar data validate` checks files against it, and `lodestar data
ingest`, `lodestar run --data` and `lodestar collect` accept what it describes. A file is CSV, JSON Lines or Parquet, named for its table
(`events.csv`, or any files in a folder `events/`); one file alone holds events. A code such as E101 is one of [errors.md](errors.md)."""

COLUMNS = """"Without it" says what an ingest does where a file has no such column, or a row no value: E101 refuses the file, `null` keeps
the row, anything else is the value that the row gets. Bounds are inclusive (E102); a required value that cannot be read is a row error
(E107), an optional one becomes `null` and is counted. Required times lie in {first_year} or later."""


def page() -> str:
    """The page as Markdown."""
    parts = [f"# Tables\n\n{paragraph(INTRODUCTION)}", _kinds(), _aliases()]
    parts += [f"## Columns\n\n{paragraph(COLUMNS.format(first_year=FIRST_YEAR))}"]
    parts += [_columns(found) for found in schema.TABLES.values()]
    return "\n".join([*parts, _event_types()])


def _kinds() -> str:
    forms = {**FORMS, schema.Kind.ID: f"Text of 1–{schema.MAX_ID_BYTES} bytes.", schema.Kind.TEXT: "Text in UTF-8."}
    rows = [(kind.value, KINDS[kind], sentence(forms[kind])) for kind in schema.Kind]
    return f"## Types\n\n{table(('type', 'value', 'how to write it'), rows)}"


def _aliases() -> str:
    told = (
        "A column of one of these names is read as the contract's where its values fit and no other column could be it, and the report "
        "says so. Names are compared by their letters and digits alone: `visitor_id`, `visitorId` and `Visitor ID` are one. Any other name "
        "is declared, or read with `--map OURS=THEIRS`."
    )
    found = aliases.COLUMN_ALIASES.items()
    rows = [(code(f"{name}.{ours}"), code(*theirs)) for name, columns in found for ours, theirs in columns.items()]
    return f"### Column aliases\n\n{paragraph(told)}\n{table(('column', 'aliases'), rows)}"


def _columns(found: schema.Table) -> str:
    head = paragraph(f"{found.description} Key: {code(*found.key)}.")
    rows = [
        (code(column.name), column.kind.value, _bounds(column), _without(found, column), sentence(column.description) + _mark(column))
        for column in found.columns
    ]
    return f"### {found.name}\n\n{head}\n{table(('column', 'type', 'values', 'without it', 'meaning'), rows)}"


def _bounds(column: schema.Column) -> str:
    if column.choices:
        return code(*column.choices)
    low, high = (None if end is None else f"{end:g}" for end in (column.low, column.high))
    return f"{low}–{high}" if low and high else f"≥ {low}" if low else ""


def _without(found: schema.Table, column: schema.Column) -> str:
    if column.name in required_columns(found, found.names):
        return "E101"
    rule = RULES[found.name].get(column.name)
    return "`null`" if rule is None else rule.description


def _mark(column: schema.Column) -> str:
    return " Personal data." if column.pii else ""


def _event_types() -> str:
    told = (
        "An event needs these columns besides those of every event; without a value the row is E103 (an id) or E111. Histories, "
        "labels and counts are made of positive feedback, counts of searches of `search`; the other types are kept."
    )
    rows = [
        (code(kind.value), code(*schema.REQUIRED_COLUMNS[kind]), "yes" if kind in schema.POSITIVE else "no") for kind in schema.EventType
    ]
    return f"## Event types\n\n{paragraph(told)}\n{table(('event type', 'needs', 'positive feedback'), rows)}"
