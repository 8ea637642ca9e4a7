"""Row errors: one message per code, with a remedy that can be typed, and "did you mean"."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.errors import DataError, Location
from lodestar.process.safe_text import quote
from lodestar.process.suggestions import listed
from lodestar.schema import aliases

QUARANTINE_OPTION = " Or set bad rows aside with --quarantine."
PLACEHOLDER = "THEIRS"
DECLARATION = "dataset.toml"
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
SHOWN_TYPES = 10


def missing_column(file: str, column: str, names: Sequence[str], unread: Sequence[str], table: schema.Table = schema.EVENTS) -> DataError:
    """E101: a required column is missing; names the likeliest of the `unread` ones among the file's `names`.

    The remedy has the --map option and the declaration's line for it.
    """
    near = did_you_mean(table, column, unread)
    instead = f" or {schema.RATING}" if column == schema.EVENT_TYPE else ""
    hint = f", the nearest is {near!r}" if near else f"; the file has {', '.join(names) or 'no columns'}"
    line = f"{table.name}.{column} = {json.dumps(near or PLACEHOLDER, ensure_ascii=False)}"
    constant = f' If all events are of one type, declare it: event_type = "{schema.EventType.VIEW}".' if instead else ""
    return DataError(
        "E101",
        f"the column {column}{instead} is missing{hint}",
        remedy=f"Rename it, or pass {_option(column, near)}. Or declare it in {DECLARATION}: {line}.{constant}",
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


def did_you_mean(table: schema.Table, wanted: str, names: Sequence[str]) -> str | None:
    """The name most likely meant by a table's column: what others call it, else the nearest spelling, or None."""
    plain = {aliases.plain_name(name): name for name in reversed(names)}
    exact = next((plain[name] for name in aliases.names_of(table, wanted) if name in plain), None)
    alike = difflib.get_close_matches(aliases.plain_name(wanted), list(plain), n=1, cutoff=0.6)
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


def convert_text(file: str, unpack: str = "") -> str:
    """The remedy for a file that is not UTF-8: what declares its encoding, or a command that writes one that is in the current folder.

    `unpack` is the command that decompresses it, empty for plain text.
    """
    unpack = unpack or ("gzip -dc" if file.endswith(".gz") else "")
    read = f"{unpack} {quote(file)} | iconv -f LATIN1 -t UTF-8" if unpack else f"iconv -f LATIN1 -t UTF-8 {quote(file)}"
    target = quote(f"utf8-{PurePath(file).name.removesuffix('.gz')}")
    return f'Declare encoding = "latin1", if it is Latin-1, or convert it: {read} > {target}'


def bad_row(code: str, table: schema.Table, place: Location, options: rules.CellOptions = rules.DEFAULT_CELLS) -> DataError:
    """The row error of a value or a key, with the message and the remedy of its code; `place` names the column and the value."""
    column = _as_read(table.column(str(place.column)), options)
    messages: Mapping[str, tuple[str, str]] = {
        "E102": (f"the value is not {_bounds(column)}", _bounds_remedy(column)),
        "E103": (_id_error(place.value), f"Give an id of 1–{schema.MAX_ID_BYTES} bytes."),
        "E105": ("the time is in the future: more than 5 minutes after the row was ingested", "Check the clock and offset of its writer."),
        "E106": ("the time has no offset", _offset_remedy(place.value or "")),
        "E107": (_type_error(column, place.value), _type_remedy(column, place)),
        "E110": (f"there is no such event type{_suggestion(place.value)}", event_types_remedy([place.value or ""])),
        "E111": (f"an event of its type needs a {column.name}", "Give it, or another event_type."),
        "E112": ("the number is too small for a time since 1970: a row number, a year or a filler", _order_remedy(column.name)),
        "E113": ("the time has another unit or form than most of its column", "Write one form throughout the column."),
        "E115": ("the day and the month of the date may be either", _format_remedy()),
        "E123": ("the row has no rating, and nothing else says what was done", "Give a rating, or an event_type."),
        "E130": ("the embedding is not as long as its dim, or as the others of its encoder version", "Embed everything by one model."),
        "E140": ("the prerequisites form a cycle", "Remove one of its relations."),
        "E170": ("the value is too long", f"Shorten it: a value has at most {_max_size(column)}."),
        "E173": ("the object names a key twice", _REMEDIES["E173"]),
        "E120": ("the key came before with different content", "Keep one of the rows."),
    }
    message, remedy = messages[code]
    return DataError(code, message, remedy=with_quarantine(remedy), place=place)


def with_quarantine(remedy: str) -> str:
    """A remedy for bad rows, or to set them aside."""
    return (remedy + QUARANTINE_OPTION).replace("\n ", "\n")


def _as_read(column: schema.Column, options: rules.CellOptions) -> schema.Column:
    """The column with the bounds and choices that hold where these options are declared."""
    if column.name == schema.RATING:
        low, high = options.rating_scale
        return replace(column, low=low, high=high)
    if column.name == schema.ARM:
        return replace(column, choices=(*rules.ARMS, *options.arms))
    return column


def _max_size(column: schema.Column) -> str:
    sent = f", {rules.MAX_SENT_BYTES:,} where a collector receives it" + (
        f" with {rules.MAX_PAIRS} pairs" if column.kind is schema.Kind.STRING_MAP else ""
    )
    return f"{rules.MAX_VALUE_BYTES:,} bytes{sent}"


def _bounds(column: schema.Column) -> str:
    if column.choices:
        return f"one of {', '.join(column.choices)}"
    if column.kind is schema.Kind.TIME:
        return f"within the years {rules.FIRST_YEAR}–{rules.LAST_YEAR}"
    if column.name == schema.PROPENSITY:
        return "above 0 and at most 1"
    if column.name == schema.VALUE:
        return f"below {rules.NOT_EXACT:,} and, of a purchase, above 0"
    if column.high is None:
        low = f"{column.low:g}" if column.low is not None else f"-{rules.NOT_EXACT - 1:,}"
        return f"within {low} and {rules.NOT_EXACT - 1:,}, from where on numbers are not kept exactly"
    return f"within {column.low:g}–{column.high:g}"


def _id_error(value: str | None) -> str:
    text = (value or "").strip()
    if len(text.encode()) > schema.MAX_ID_BYTES:
        return f"the id has more than {schema.MAX_ID_BYTES} bytes"
    return "the id is a text that stands for none" if text else "the id is empty"


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
    if column.name == schema.RATING:
        return f"If the ratings have another scale, declare it, such as rating_scale = [0, 10], in {DECLARATION}; else correct it."
    if column.name == schema.ARM:
        return f'Correct it, or declare the arms of an experiment in {DECLARATION}: arms = ["blue", "green"].'
    return "Correct it." if column.required else "Correct it, or leave it empty."


def _offset_remedy(value: str) -> str:
    """How to write a time without an offset: a date alone begins at midnight, and seconds are written out."""
    written = value.strip()
    if not re.fullmatch(rules.NAIVE_TIME, written, re.ASCII):
        return _zone_remedy()
    whole = written + ("T00:00:00" if len(written) <= DATE_LENGTH else ":00" if written.count(":") == 1 else "")
    return f"Write {whole}Z if it is UTC, or {whole}+02:00 with its own offset. {_zone_remedy()}"


def _zone_remedy() -> str:
    return f'If all times are of one zone, pass --time-zone UTC, or declare time_zone = "UTC" in {DECLARATION}.'


def _format_remedy() -> str:
    return f'Declare in {DECLARATION} which it is: time_format = "%d/%m/%Y" or time_format = "%m/%d/%Y", and time_zone = "UTC".'


def _order_remedy(column: str) -> str:
    if column != schema.EVENT_TIME:
        return FORMS[schema.Kind.TIME]
    return f'If it numbers the rows, and there are no times, declare order = "{schema.EVENT_TIME}" in {DECLARATION}.'


def event_types_remedy(values: Sequence[str]) -> str:
    """The remedy for unknown event types: a line of the declaration for each of the first few, and the types that there are."""
    lines = [f"event_types.{_key(value)} = {json.dumps(_meant(value))}" for value in values if value][:SHOWN_TYPES]
    declared = f"Declare in {DECLARATION} what they mean:\n{chr(10).join(lines)}\nor use one of:\n" if lines else "Use one of:\n"
    return f"{declared}{listed(schema.EventType)}\n"


def _key(value: str) -> str:
    """A value as a key of TOML."""
    return value if re.fullmatch(r"[A-Za-z0-9_-]+", value) else json.dumps(value, ensure_ascii=False)


def _meant(value: str) -> str:
    """The event type that a value most likely means; a view where none is near."""
    near = difflib.get_close_matches(value.casefold(), list(schema.EventType), n=1, cutoff=0.5)
    return str(aliases.near_event_type(value) or (near[0] if near else schema.EventType.VIEW))


def _suggestion(value: str | None) -> str:
    near = difflib.get_close_matches((value or "").casefold(), list(schema.EventType), n=1, cutoff=0.5)
    return f", did you mean {str(near[0])!r}?" if near else ""
