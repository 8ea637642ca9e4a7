"""Text into typed values, as SQL that DuckDB runs over whole columns: a value where it is good, a code where it is not.

What a value must be is in `rules`. A column of integers counts from 1970 in the unit that most of its first values show.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.data import rules
from lodestar.data.rules import EPOCHS, Epoch
from lodestar.errors import DataError, Place


def _is_list(kind: "pa.DataType") -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


# DuckDB takes no map that names a key twice, or none, not even to say so.
_ENTRIES = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
# What a column takes from a typed file as it stands.
_TYPED: dict[schema.Kind, tuple[tuple[Callable[["pa.DataType"], bool], "pa.DataType"], ...]] = {
    schema.Kind.TIME: ((lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None, pa.timestamp("us", tz="UTC")),),
    schema.Kind.FLOAT: ((pa.types.is_floating, pa.float64()), (pa.types.is_integer, pa.float64())),
    schema.Kind.INT: ((pa.types.is_integer, pa.int64()),),
    schema.Kind.BOOL: ((pa.types.is_boolean, pa.bool_()),),
    schema.Kind.TEXTS: ((_is_list, pa.list_(pa.string())),),
    schema.Kind.FLOATS: ((_is_list, pa.list_(pa.float32())),),
    schema.Kind.PAIRS: ((pa.types.is_map, _ENTRIES),),
}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """SQL of a column's value, NULL where it is missing or bad, and of the code of what is wrong with it, else NULL."""

    value: str
    fault: str


def quoted(name: str) -> str:
    return f'"{name}"'


def texts(values: Any) -> str:
    return ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)


def prepared(column: schema.Column, values: "pa.ChunkedArray", file: str) -> "pa.ChunkedArray":
    """Values as the conversion takes them: those of a fitting type as they are, all others as text; E107 or E104 where neither goes."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return prepared(column, values.cast(kind.value_type), file)
    place = Place(file=file, column=column.name)
    wanted = next((arrow for is_like, arrow in _TYPED.get(column.kind, ()) if is_like(kind)), pa.string())
    try:
        # Of whole numbers that a float does not keep the row's judge speaks.
        plain = values.cast(wanted, safe=not (pa.types.is_timestamp(kind) or pa.types.is_integer(kind)))
        plain.validate(full=True)
    except pa.ArrowNotImplementedError as error:
        raise DataError("E107", f"{kind} is no type for it", remedy="Write text, numbers or lists of text.", place=place) from error
    except pa.ArrowInvalid as error:
        raise DataError("E104", f"the text is not UTF-8 ({error})", remedy="Convert it.", place=place) from error
    return plain


def epoch(database: Any, table: str, column: schema.Column) -> Epoch | None:
    """How a time column of text counts, None where it holds no integers; one look at its first value settles most."""
    text = f"trim({quoted(column.name)})"
    first = database.execute(f"SELECT {text} FROM {table} WHERE {text} <> '' LIMIT 1").fetchone()
    if first is None or not database.execute(f"SELECT regexp_full_match(?, '{rules.INTEGER}')", [first[0]]).fetchone()[0]:
        return None
    counts = ", ".join(f"count(*) FILTER ({choice.covers('number')})" for choice in EPOCHS)
    found = database.execute(f"SELECT {counts} FROM (SELECT TRY_CAST({text} AS BIGINT) AS number FROM {table})").fetchone()
    return EPOCHS[found.index(max(found))]


def conversion(column: schema.Column, kind: "pa.DataType", counts: Epoch | None, most_bytes: int = rules.MOST_VALUE_BYTES) -> Conversion:
    """How a prepared column of a source becomes one of the contract; E170 where a text has more than `most_bytes`."""
    name = quoted(column.name)
    if column.kind is schema.Kind.ID:
        return _id(name, column)
    if pa.types.is_string(kind):
        text = f"nullif(trim({name}), '')"
        found = _written(text, column, counts, most_bytes)
        return Conversion(value=found.value, fault=f"CASE WHEN strlen({text}) > {most_bytes} THEN 'E170' ELSE ({found.fault}) END")
    if pa.types.is_timestamp(kind):
        value = f"epoch_us({name})"
        return Conversion(value=value, fault=_fault(f"{name} IS NULL", column, *_beyond(value, column)))
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return _bounded(f"nullif({name}, 'nan')" if pa.types.is_floating(kind) else name, column)
    return _nested(name, column, most_bytes)


def _nested(name: str, column: schema.Column, most_bytes: int) -> Conversion:
    """Lists and maps of a typed file, as long as their values and one byte between each."""
    if column.kind is schema.Kind.PAIRS:
        return _entries(name, column, most_bytes)
    if column.kind is schema.Kind.FLOATS:
        cases = [f"WHEN 4 * len({name}) > {most_bytes} THEN 'E170'", f"WHEN {_has_no_number(name)} THEN 'E102'"]
    else:
        cases = [f"WHEN {_length(name, 'one')} > {most_bytes} THEN 'E170'"] if column.kind is schema.Kind.TEXTS else []
    return Conversion(value=name, fault=_fault(f"{name} IS NULL", column, *cases))


def _entries(name: str, column: schema.Column, most_bytes: int) -> Conversion:
    keys = f"list_transform({name}, lambda one: one.key)"
    is_good = f"len({keys}) = len(list_distinct({keys}))"
    cases = [
        f"WHEN {_length(name, 'one.key', 'one.value')} > {most_bytes} THEN 'E170'",
        f"WHEN len({keys}) > len(list_filter({keys}, lambda one: one IS NOT NULL)) THEN 'E107'",
        f"WHEN NOT {is_good} THEN 'E173'",
    ]
    return Conversion(value=f"CASE WHEN {is_good} THEN map_from_entries({name}) END", fault=_fault(f"{name} IS NULL", column, *cases))


def _length(values: str, *parts: str) -> str:
    length = " + ".join(f"1 + coalesce(strlen({part}), 0)" for part in parts)
    return f"list_sum(list_transform({values}, lambda one: {length}))"


def _has_no_number(values: str) -> str:
    return f"len(list_filter({values}, lambda one: one IS NULL OR NOT isfinite(one))) > 0"


def _written(text: str, column: schema.Column, counts: Epoch | None, most_bytes: int) -> Conversion:
    if column.kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        return _number(f"nullif(regexp_replace({text}, '^{rules.NOT_A_NUMBER}$', ''), '')", column)
    if column.kind is schema.Kind.TIME:
        return _time(text, column, counts)
    json = f"TRY_CAST({text} AS JSON)"
    if column.kind is schema.Kind.PAIRS:
        return _pairs(text, json, column, most_bytes)
    low = f"lower({text})"
    values = {
        schema.Kind.TEXT: text,
        schema.Kind.BOOL: f"CASE WHEN {low} IN ({texts(rules.TRUE)}) THEN true WHEN {low} IN ({texts(rules.FALSE)}) THEN false END",
        schema.Kind.TEXTS: f"""
            CASE WHEN starts_with({text}, '[') THEN TRY_CAST({json} AS VARCHAR[]) ELSE string_split({text}, '|') END""",
        schema.Kind.FLOATS: f"TRY_CAST({json} AS FLOAT[])",
    }
    value = values[column.kind]
    cases = [f"WHEN {value} IS NULL THEN 'E107'"]
    if column.kind is schema.Kind.TEXTS:
        cases.append(f"WHEN {_has_inexact(text, json, '$[*]')} THEN 'E107'")
    if column.kind is schema.Kind.FLOATS:
        cases.append(f"WHEN {_has_no_number(value)} THEN 'E102'")
    if column.choices:
        cases.append(f"WHEN {value} NOT IN ({texts(column.choices)}) THEN 'E102'")
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", column, *cases))


def _has_inexact(text: str, json: str, path: str) -> str:
    """Whether a number within JSON may be another than was written."""
    is_one = f"json_type(one) = 'DOUBLE' AND regexp_matches(one::VARCHAR, '[.eE]') AND abs(TRY_CAST(one AS DOUBLE)) >= {rules.NOT_EXACT}"
    has_one = f"len(list_filter(json_extract({json}, '{path}'), lambda one: {is_one})) > 0"
    return f"CASE WHEN regexp_matches({text}, '{rules.LARGE_ELEMENT}') THEN {has_one} ELSE false END"


def _pairs(text: str, json: str, column: schema.Column, most_bytes: int) -> Conversion:
    """An object of texts; of one that names a key twice DuckDB makes no map, but an error that ends the query."""
    is_object = f"starts_with({text}, '{{') AND {json} IS NOT NULL"
    keys = f"CASE WHEN {is_object} THEN json_keys({json}) END"
    is_unique = f"len({keys}) = len(list_distinct({keys}))"
    value = f"CASE WHEN {is_object} AND {is_unique} THEN TRY_CAST({json} AS MAP(VARCHAR, VARCHAR)) END"
    cases = [f"WHEN NOT {is_unique} THEN 'E173'", f"WHEN {value} IS NULL THEN 'E107'"]
    cases.append(f"WHEN {_has_inexact(text, json, '$.*')} THEN 'E107'")
    if most_bytes == rules.MOST_SENT_BYTES:
        cases.append(f"WHEN len({keys}) > {rules.MOST_PAIRS} THEN 'E170'")
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", column, *cases))


def _fault(missing: str, column: schema.Column, *cases: str) -> str:
    """The code of a row, NULL where a value is good or may be missing and is."""
    absent = "'E107'" if column.required else "NULL"
    return " ".join(("CASE WHEN", missing, "THEN", absent, *cases, "END"))


def _id(name: str, column: schema.Column) -> Conversion:
    missing = f"(trim(coalesce({name}, '')) = '' OR {name} IN ({texts(rules.NOT_AN_ID)}))"
    absent = "'E103'" if column.required else "NULL"
    return Conversion(
        value=f"CASE WHEN NOT {missing} THEN {name} END",
        fault=f"CASE WHEN {missing} THEN {absent} WHEN strlen({name}) > {schema.MAX_ID_BYTES} THEN 'E103' END",
    )


def _number(text: str, column: schema.Column) -> Conversion:
    is_whole = column.kind is schema.Kind.INT
    pattern, kind = (rules.WHOLE, "BIGINT") if is_whole else (rules.NUMBER, "DOUBLE")
    value = f"CASE WHEN regexp_full_match({text}, '{pattern}') THEN TRY_CAST({text} AS {kind}) END"
    return _bounded(value, column, f"WHEN {text} IS NOT NULL AND {value} IS NULL THEN 'E107'")


def _bounded(value: str, column: schema.Column, *cases: str) -> Conversion:
    """A number within the column's bounds, or the code of why it is none."""
    endless = [f"WHEN NOT isfinite({value}) OR abs({value}) >= {rules.NOT_EXACT} THEN 'E102'"] if column.kind is schema.Kind.FLOAT else []
    absent = "'E107'" if column.required else "NULL"
    whens = (*cases, *endless, *_beyond(value, column), f"WHEN {value} IS NULL THEN {absent}")
    return Conversion(value=value, fault=f"CASE {' '.join(whens)} END")


def _beyond(value: str, column: schema.Column) -> list[str]:
    low, high = rules.bounds(column)
    return [f"WHEN {value} {sign} {bound} THEN 'E102'" for sign, bound in (("<", low), (">", high)) if bound is not None]


def _time(text: str, column: schema.Column, counts: Epoch | None) -> Conversion:
    naive = f"WHEN regexp_full_match({text}, '{rules.NAIVE}') THEN 'E106'"
    if counts is None:
        value = f"CASE WHEN regexp_full_match({text}, '{rules.MOMENT}') THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) END"
    else:
        number = f"TRY_CAST({text} AS BIGINT)"
        value = f"CASE WHEN regexp_full_match({text}, '{rules.INTEGER}') AND {counts.covers(number)} THEN {number} * {counts.unit_us} END"
    return Conversion(
        value=value, fault=_fault(f"{text} IS NULL", column, naive, f"WHEN {value} IS NULL THEN 'E107'", *_beyond(value, column))
    )
