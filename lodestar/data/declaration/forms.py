"""Forms of values in SQL: text as somebody else writes it to text as the contract does, for numbers, times, lists and flags.

Each function takes an SQL expression of text and returns one; what it cannot read stays as it is, for the validator to refuse by its own
code with the value that the file has. Nothing here runs: DuckDB evaluates the expressions over whole columns.
"""

import html
import json
from collections.abc import Sequence

from lodestar.data.contract import rules
from lodestar.data.declaration.model import CellForm, ColumnSource
from lodestar.schema.time_units import DAY_US, SECOND_US

UNIT_US = {"s": SECOND_US, "ms": 1000, "us": 1}
DATE_DIGITS = "%Y%m%d"
ISO_UTC, ISO_NAIVE = "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%dT%H:%M:%S.%f"
# Signs of currencies, ISO 4217 codes before or after, percent signs, and spaces of every width.
_DECORATION = r"[\s\x{00A0}\x{2009}\x{202F}$€£¥₹₽₩₺%]|^[A-Z]{3}|[A-Z]{3}$"
_NUMBER_OF_UNITS = r"[+-]?\d{1,19}(\.\d*)?"


def literal(text: str) -> str:
    """A text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column's name as an SQL identifier, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def number(text: str, form: CellForm) -> str:
    """A number without thousands separators, signs of currencies and of percent, and with a decimal point."""
    plain = f"regexp_replace(trim({text}), {literal(_DECORATION)}, '', 'g')"
    if form.thousands:
        plain = f"replace({plain}, {literal(form.thousands)}, '')"
    if form.decimal == ",":
        plain = f"replace({plain}, ',', '.')"
    return f"CASE WHEN regexp_full_match({plain}, {literal(rules.NUMBER)}) THEN {plain} ELSE {text} END"


def scaled(text: str, source: ColumnSource) -> str:
    """A number multiplied and clipped."""
    value = f"TRY_CAST({text} AS DOUBLE)"
    if source.multiply is not None:
        value = f"{value} * {float(source.multiply)!r}"
    if source.clip is not None:
        low, high = (repr(float(bound)) for bound in source.clip)
        value = f"greatest({low}, least({high}, {value}))"
    return f"coalesce(({value})::VARCHAR, {text})"


def time(text: str, form: CellForm, plus: str = "", plus_unit: str = "s") -> str:
    """A time in UTC by ISO 8601; `plus` is SQL of a number in `plus_unit` that is added to it.

    A local time that a change of clocks gives twice is the later one. Without a zone, a time without an offset stays without one.
    """
    if form.time_unit == "date":
        instant = _zoned(f"TRY_STRPTIME({text}, {literal(DATE_DIGITS)})", form.time_zone)
    elif form.time_unit:
        instant = f"make_timestamptz({_units_us(text, form.time_unit)})"
    elif form.time_format:
        parsed = f"TRY_STRPTIME({text}, {literal(form.time_format)})"
        instant = parsed if "%z" in form.time_format or "%Z" in form.time_format else _zoned(parsed, form.time_zone)
    elif form.time_zone:
        naive = f"CASE WHEN regexp_full_match({text}, {literal(rules.NAIVE_TIME)}) THEN TRY_CAST({text} AS TIMESTAMP) END"
        instant = _zoned(naive, form.time_zone)
    else:
        instant = f"CASE WHEN regexp_full_match({text}, {literal(rules.AWARE_TIME)}) THEN TRY_CAST({text} AS TIMESTAMPTZ) END"
    has_offset = bool(form.time_zone) or form.time_unit not in {"", "date"} or not form.time_format or "%z" in form.time_format.lower()
    if plus:
        instant = f"{instant} + to_microseconds(coalesce({_units_us(plus, plus_unit)}, 0))"
    written = f"strftime(timezone('UTC', {instant}), '{ISO_UTC}')" if has_offset else f"strftime({instant}, '{ISO_NAIVE}')"
    return f"coalesce({written}, {text})"


def _zoned(naive: str, zone: str) -> str:
    return f"timezone({literal(zone)}, {naive})" if zone else naive


def _units_us(text: str, unit: str) -> str:
    """Microseconds of a number of units, whole or with decimal places; NULL where it is no number."""
    whole = f"TRY_CAST({text} AS HUGEINT)"
    if unit == "ns":
        exact, share = f"{whole} // 1000", "/ 1000"
    else:
        exact, share = f"{whole} * {UNIT_US[unit]}", f"* {UNIT_US[unit]}"
    inexact = f"round(TRY_CAST({text} AS DOUBLE) {share})"
    return f"""
        CASE WHEN NOT regexp_full_match({text}, {literal(_NUMBER_OF_UNITS)}) THEN NULL
        WHEN contains({text}, '.') THEN TRY_CAST({inexact} AS BIGINT) ELSE TRY_CAST({exact} AS BIGINT) END"""


def text_of_html(text: str) -> str:
    """A text with characters in place of HTML's entities, such as & for &amp;; of a JSON list in each of its texts."""
    if not text.startswith("["):
        return html.unescape(text)
    try:
        found = json.loads(text)
    except ValueError:
        return html.unescape(text)
    return json.dumps([html.unescape(one) if isinstance(one, str) else one for one in found], ensure_ascii=False)


def parts(text: str, separator: str) -> str:
    """A text's parts between separators as a JSON list, without empty ones; a JSON list stays, of nested ones the first."""
    split = f"list_filter(list_transform(string_split({text}, {literal(separator)}), lambda one: trim(one)), lambda one: one <> '')"
    is_json = f"starts_with({text}, '[') AND json_valid({text})"
    nested = f"CASE WHEN starts_with({text}, '[[') THEN json_extract({text}, '$[0]')::VARCHAR ELSE {text} END"
    return f"CASE WHEN {is_json} THEN {nested} ELSE to_json({split})::VARCHAR END"


def flags(names: Sequence[str], columns: Sequence[str]) -> str:
    """A JSON list of the names whose columns are 1 or true, NULL where none is."""
    marked = ", ".join(
        f"CASE WHEN lower(trim({column})) IN ('1', '1.0', 'true', 't', 'yes') THEN {literal(name)} END"
        for name, column in zip(names, columns, strict=True)
    )
    found = f"list_filter([{marked}], lambda one: one IS NOT NULL)"
    return f"CASE WHEN len({found}) > 0 THEN to_json({found})::VARCHAR END"


def order_time(position: str) -> str:
    """The time of the n-th of a user's interactions in data without times: n seconds after 2000-01-01, as ISO 8601."""
    return f"strftime(TIMESTAMP '2000-01-01' + to_seconds({position}), '{ISO_UTC}')"


MAX_ORDER = 100 * 365 * DAY_US // SECOND_US  # positions that fit into the contract's years
