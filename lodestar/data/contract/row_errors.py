"""Row errors: one message per code, with a remedy that can be typed, column aliases and "did you mean"."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.errors import DataError, Location
from lodestar.process.safe_text import quote
from lodestar.process.suggestions import listed

QUARANTINE_OPTION = " Or set bad rows aside with --quarantine."
PLACEHOLDER = "THEIRS"
KINDS = {
    schema.Kind.ID: "id",
    schema.Kind.TEXT: "text",
    schema.Kind.TIME: "time",
    schema.Kind.FLOAT: "number",
    schema.Kind.INT: "whole number",
    schema.Kind.BOOL: "truth value",
    schema.Kind.TEXT_LIST: "list of texts",
    schema.Kind.FLOAT_LIST: "list of numbers",
    schema.Kind.STRING_MAP: "object of texts",
}
NUMBERS: dict[schema.Kind, float] = {schema.Kind.FLOAT: 4.5, schema.Kind.INT: 4}
JSON_EXAMPLES = {
    schema.Kind.TEXT_LIST: '["a", "b"]',
    schema.Kind.FLOAT_LIST: "[0.5, -1.25]",
    schema.Kind.STRING_MAP: '{"colour": "red"}',
}
DATE_LENGTH = len("2026-01-31")
FORMS = {
    schema.Kind.TIME: "Write 2026-01-31T12:00:00Z, an offset instead of Z, or integers since 1970 throughout the column.",
    schema.Kind.FLOAT: f"Write a number such as {NUMBERS[schema.Kind.FLOAT]}.",
    schema.Kind.INT: f"Write a whole number such as {NUMBERS[schema.Kind.INT]}.",
    schema.Kind.BOOL: "Write true or false.",
    schema.Kind.TEXT_LIST: f"Write a|b or {JSON_EXAMPLES[schema.Kind.TEXT_LIST]}.",
    schema.Kind.FLOAT_LIST: f"Write {JSON_EXAMPLES[schema.Kind.FLOAT_LIST]}.",
    schema.Kind.STRING_MAP: f"Write {JSON_EXAMPLES[schema.Kind.STRING_MAP]}.",
}
# Column aliases of other people's files: an exact match here counts before a similar spelling.
COLUMN_ALIASES = {
    schema.USER_ID: ("user", "uid", "userid", "customer_id", "visitor_id", "member_id", "account_id", "reviewer_id"),
    schema.ITEM_ID: ("item", "iid", "itemid", "product_id", "product", "sku", "asin", "movie_id", "article_id", "content_id"),
    schema.EVENT_TYPE: ("event", "type", "action", "behavior", "behaviour", "event_name"),
    schema.EVENT_TIME: ("timestamp", "ts", "time", "date", "datetime", "created_at", "event_timestamp", "occurred_at"),
    schema.RATING: ("stars", "rate", "score", "overall"),
}


def missing_column(file: str, column: str, names: Sequence[str]) -> DataError:
    """E101: a required column is missing; names the most likely column of the file and the --map option for it."""
    near = did_you_mean(column, names)
    instead = f" or {schema.RATING}" if column == schema.EVENT_TYPE else ""
    hint = f", the nearest is {near!r}" if near else f"; the file has {', '.join(names) or 'no columns'}"
    return DataError(
        "E101",
        f"the column {column}{instead} is missing{hint}",
        remedy=f"Rename it, or pass {_option(column, near)}.",
        place=Location(file=file, column=column),
    )


def unmapped_column(file: str, ours: str, theirs: str, names: Sequence[str]) -> DataError:
    """E101: --map names a column that the file does not have; suggests the nearest one."""
    alike = difflib.get_close_matches(theirs, names, n=1, cutoff=0.6)
    hint = f", the nearest is {alike[0]!r}" if alike else f"; the file has {', '.join(names)}"
    remedy = f"Pass {_option(ours, alike[0] if alike else None)}."
    return DataError("E101", f"the column {theirs} is missing{hint}", remedy=remedy, place=Location(file=file, column=theirs))


def _option(ours: str, theirs: str | None) -> str:
    return f"--map {quote(f'{ours}={theirs or PLACEHOLDER}')}"


def did_you_mean(wanted: str, names: Sequence[str]) -> str | None:
    """The name most likely meant by `wanted`: itself or an alias (ignoring case, spaces, dashes), else the nearest spelling, or None."""
    plain = {name.casefold().replace(" ", "_").replace("-", "_"): name for name in reversed(names)}
    exact = next((plain[name] for name in (wanted, *COLUMN_ALIASES.get(wanted, ())) if name in plain), None)
    alike = difflib.get_close_matches(wanted, list(plain), n=1, cutoff=0.6)
    return exact or (plain[alike[0]] if alike else None)


_REMEDIES = {
    "E171": "End each row with its line, and close quotes.",
    "E173": "Name each key once.",
    "E174": "Upload the part again, if its collector still has it; the rows that could be read are kept.",
}


def malformed(code: str, message: str, place: Location) -> DataError:
    """The row error of a line that cannot be parsed as a row, with the remedy of its code."""
    remedy = (
        convert_text(place.file) if code == "E104" else _REMEDIES.get(code, "Correct the line: one value for each column, or an object.")
    )
    return DataError(code, message, remedy=remedy + QUARANTINE_OPTION, place=place)


def convert_text(file: str) -> str:
    """The remedy for a file that is not UTF-8: a command that writes one that is, in the current folder."""
    unpack = f"gzip -dc {quote(file)} | " if file.endswith(".gz") else ""
    read = "" if unpack else f" {quote(file)}"
    target = quote(f"utf8-{PurePath(file).name.removesuffix('.gz')}")
    return f"Convert it, if it is Latin-1: {unpack}iconv -f LATIN1 -t UTF-8{read} > {target}"


def bad_row(code: str, table: schema.Table, place: Location) -> DataError:
    """The row error of a value or a key, with the message and the remedy of its code; `place` names the column and the value."""
    column = table.column(str(place.column))
    messages: Mapping[str, tuple[str, str]] = {
        "E102": (f"the value is not {_bounds(column)}", _bounds_remedy(column)),
        "E103": (_id_error(place.value), f"Give an id of 1–{schema.MAX_ID_BYTES} bytes."),
        "E105": ("the time is in the future: more than 5 minutes after the row was ingested", "Check the clock and offset of its writer."),
        "E106": ("the time has no offset", _offset_remedy(place.value or "")),
        "E107": (_type_error(column, place.value), _type_remedy(column, place)),
        "E110": (f"there is no such event type{_suggestion(place.value)}", f"Use one of:\n{listed(schema.EventType)}\n"),
        "E111": (f"an event of its type needs a {column.name}", "Give it, or another event_type."),
        "E130": ("the embedding is not as long as its dim, or as the others of its encoder version", "Embed everything by one model."),
        "E140": ("the prerequisites form a cycle", "Remove one of its relations."),
        "E170": ("the value is too long", f"Shorten it: a value has at most {_max_size(column)}."),
        "E173": ("the object names a key twice", _REMEDIES["E173"]),
        "E120": ("the key came before with different content", "Keep one of the rows."),
    }
    message, remedy = messages[code]
    return DataError(code, message, remedy=(remedy + QUARANTINE_OPTION).replace("\n ", "\n"), place=place)


def _max_size(column: schema.Column) -> str:
    sent = f", {rules.MAX_SENT_BYTES:,} where a collector receives it" + (
        f" with {rules.MAX_PAIRS} pairs" if column.kind is schema.Kind.STRING_MAP else ""
    )
    return f"{rules.MAX_VALUE_BYTES:,} bytes{sent}"


def _bounds(column: schema.Column) -> str:
    if column.choices:
        return f"one of {', '.join(column.choices)}"
    if column.kind is schema.Kind.TIME:
        return f"within {rules.FIRST_YEAR}–{rules.END_YEAR - 1}"
    if column.high is None:
        low = f"{column.low:g}" if column.low is not None else f"-{rules.NOT_EXACT - 1:,}"
        return f"within {low} and {rules.NOT_EXACT - 1:,}, from where on numbers are not kept exactly"
    return f"within {column.low:g}–{column.high:g}"


def _id_error(value: str | None) -> str:
    is_long = len((value or "").encode()) > schema.MAX_ID_BYTES
    return f"the id has more than {schema.MAX_ID_BYTES} bytes" if is_long else "the id is empty"


def _type_error(column: schema.Column, value: str | None) -> str:
    return f"the value is no {KINDS[column.kind]}" if (value or "").strip() else f"a {KINDS[column.kind]} is required here"


def _type_remedy(column: schema.Column, place: Location) -> str:
    """How a value of the column's type is written in this file: within its bounds, and in quotes where a line of CSV needs them."""
    if column.kind in {schema.Kind.ID, schema.Kind.TEXT}:
        return "Write it as a text, in quotes: as a number so large it is not kept exactly." if (place.value or "").strip() else "Give one."
    if column.kind in NUMBERS:
        return f"Write a {KINDS[column.kind]} such as {_number_example(column)}."
    if (json := JSON_EXAMPLES.get(column.kind)) is None:
        return FORMS[column.kind]
    is_delimited = not place.file.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".parquet"))
    plain = "a|b or " if column.kind is schema.Kind.TEXT_LIST else ""
    return f"""Write {plain}{'"' + json.replace('"', '""') + '"' if is_delimited else json}."""


def _number_example(column: schema.Column) -> str:
    """A number within the column's bounds."""
    low, high = column.low, column.high
    usual = NUMBERS[column.kind]
    if (low is None or low <= usual) and (high is None or usual <= high):
        return f"{usual:g}"
    return f"{low:g}" if low is not None and column.kind is schema.Kind.INT else f"{((low or 0) + (high or 0)) / 2:g}"


def _bounds_remedy(column: schema.Column) -> str:
    return "Correct it." if column.required else "Correct it, or leave it empty."


def _offset_remedy(value: str) -> str:
    """How to write a time without an offset: a date alone begins at midnight, and seconds are written out."""
    written = value.strip()
    whole = written + ("T00:00:00" if len(written) <= DATE_LENGTH else ":00" if written.count(":") == 1 else "")
    return f"Write {whole}Z if it is UTC, or {whole}+02:00 with its own offset."


def _suggestion(value: str | None) -> str:
    near = difflib.get_close_matches((value or "").casefold(), list(schema.EventType), n=1, cutoff=0.5)
    return f", did you mean {str(near[0])!r}?" if near else ""
