"""Text into typed values, as SQL that DuckDB runs over whole columns: a value where it is good, a code where it is not.

A moment is an ISO 8601 time with Z or an offset. A column of integers counts from 1970-01-01 UTC in seconds, milliseconds or
microseconds, whichever most of its values show: a second in 1973–5138 has 9–11 digits, its millisecond 12–14, its microsecond 15–17.
"""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lodestar import schema
from lodestar.errors import DataError, Place

NOT_AN_ID = ("nan", "NaN", "NAN", "null", "NULL", "None", "<NA>")
TRUE, FALSE = ("true", "t", "yes", "y", "1", "1.0"), ("false", "f", "no", "n", "0", "0.0")
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_WHOLE = r"[+-]?\d{1,18}(\.0+)?"
_INTEGER = r"-?\d{1,17}"
_DAY, _CLOCK = r"\d{4}-\d\d-\d\d", r"[T ]\d\d:\d\d:\d\d(\.\d{1,9})?"
_MOMENT = rf"{_DAY}{_CLOCK}(Z| ?UTC|[+-]\d\d(:?\d\d)?)"
_NAIVE = rf"{_DAY}([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """How a column counts from 1970: `low` and `high` bound the size of its numbers, one of them is `unit_us` microseconds."""

    name: str
    unit_us: int
    low: int
    high: int

    def covers(self, number: str) -> str:
        return f"abs({number}) >= {self.low} AND abs({number}) < {self.high}"


EPOCHS = (
    Epoch(name="seconds", unit_us=1_000_000, low=0, high=10**11),
    Epoch(name="milliseconds", unit_us=1_000, low=10**11, high=10**14),
    Epoch(name="microseconds", unit_us=1, low=10**14, high=10**17),
)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """SQL of a column's value, NULL where it is missing or bad, and of the code of what is wrong with it, else NULL."""

    value: str
    fault: str


def quoted(name: str) -> str:
    return f'"{name}"'


def texts(values: Any) -> str:
    return ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)


def epoch(database: Any, table: str, column: schema.Column, kind: "pa.DataType") -> Epoch | None:
    """How a time column counts, None where it holds no integers; one look at its first value settles most."""
    if column.kind is not schema.Kind.TIME or not pa.types.is_string(kind):
        return None
    text = f"trim({quoted(column.name)})"
    first = database.execute(f"SELECT {text} FROM {table} WHERE {text} <> '' LIMIT 1").fetchone()
    if first is None or not database.execute(f"SELECT regexp_full_match(?, '{_INTEGER}')", [first[0]]).fetchone()[0]:
        return None
    counts = ", ".join(f"count(*) FILTER ({choice.covers('number')})" for choice in EPOCHS)
    found = database.execute(f"SELECT {counts} FROM (SELECT TRY_CAST({text} AS BIGINT) AS number FROM {table})").fetchone()
    return EPOCHS[found.index(max(found))]


def conversion(column: schema.Column, kind: "pa.DataType", counts: Epoch | None, file: str) -> Conversion:
    """How a column of a source becomes one of the contract; DataError E107 where its type can never be."""
    name = quoted(column.name)
    if column.kind is schema.Kind.TIME and pa.types.is_int64(kind):
        return Conversion(value=name, fault=_fault(f"{name} IS NULL", column))
    if column.kind is schema.Kind.TEXTS and pa.types.is_list(kind):
        return Conversion(value=name, fault="NULL")
    if column.kind is schema.Kind.FLOATS and pa.types.is_list(kind):
        value = f"TRY_CAST({name} AS FLOAT[])"
        return Conversion(value=value, fault=_fault(f"{name} IS NULL", column, f"WHEN {value} IS NULL THEN 'E107'", _no_number(value)))
    if column.kind is schema.Kind.PAIRS and pa.types.is_map(kind):
        return Conversion(value=name, fault="NULL")
    if not pa.types.is_string(kind):
        place = Place(file=file, column=column.name)
        raise DataError("E107", f"a column of {kind} is no {column.kind}", remedy="Map another column with --map ours=theirs.", place=place)
    return _id(name, column) if column.kind is schema.Kind.ID else _written(f"nullif(trim({name}), '')", column, counts)


def _written(text: str, column: schema.Column, counts: Epoch | None) -> Conversion:
    if column.kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        return _number(f"nullif(regexp_replace({text}, '^[nN]a[nN]$', ''), '')", column)
    if column.kind is schema.Kind.TIME:
        return _time(text, column, counts)
    low, json = f"lower({text})", f"TRY_CAST({text} AS JSON)"
    values = {
        schema.Kind.TEXT: text,
        schema.Kind.BOOL: f"CASE WHEN {low} IN ({texts(TRUE)}) THEN true WHEN {low} IN ({texts(FALSE)}) THEN false END",
        schema.Kind.TEXTS: f"""
            CASE WHEN starts_with({text}, '[') THEN TRY_CAST({json} AS VARCHAR[]) ELSE string_split({text}, '|') END""",
        schema.Kind.FLOATS: f"TRY_CAST({json} AS FLOAT[])",
        schema.Kind.PAIRS: f"CASE WHEN starts_with({text}, '{{') THEN TRY_CAST({json} AS MAP(VARCHAR, VARCHAR)) END",
    }
    value = values[column.kind]
    cases = [f"WHEN {value} IS NULL THEN 'E107'"]
    if column.kind is schema.Kind.FLOATS:
        cases.append(_no_number(value))
    if column.choices:
        cases.append(f"WHEN {value} NOT IN ({texts(column.choices)}) THEN 'E102'")
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", column, *cases))


def _no_number(values: str) -> str:
    """The case of a list in which something is no finite number."""
    return f"WHEN len(list_filter({values}, lambda one: one IS NULL OR NOT isfinite(one))) > 0 THEN 'E102'"


def _fault(missing: str, column: schema.Column, *cases: str) -> str:
    """The code of a row, NULL where a value is good or may be missing and is."""
    absent = "'E107'" if column.required else "NULL"
    return " ".join(("CASE WHEN", missing, "THEN", absent, *cases, "END"))


def _id(name: str, column: schema.Column) -> Conversion:
    missing = f"(trim(coalesce({name}, '')) = '' OR {name} IN ({texts(NOT_AN_ID)}))"
    absent = "'E103'" if column.required else "NULL"
    return Conversion(
        value=f"CASE WHEN NOT {missing} THEN {name} END",
        fault=f"CASE WHEN {missing} THEN {absent} WHEN strlen({name}) > {schema.MAX_ID_BYTES} THEN 'E103' END",
    )


def _number(text: str, column: schema.Column) -> Conversion:
    is_whole = column.kind is schema.Kind.INT
    pattern, kind = (_WHOLE, "BIGINT") if is_whole else (_NUMBER, "DOUBLE")
    value = f"CASE WHEN regexp_full_match({text}, '{pattern}') THEN TRY_CAST({text} AS {kind}) END"
    cases = [f"WHEN {value} IS NULL THEN 'E107'"]
    if not is_whole:
        cases.append(f"WHEN NOT isfinite({value}) THEN 'E102'")
    cases += [
        f"WHEN {value} {beyond} {bound} THEN 'E102'" for beyond, bound in (("<", column.low), (">", column.high)) if bound is not None
    ]
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", column, *cases))


def _time(text: str, column: schema.Column, counts: Epoch | None) -> Conversion:
    naive = f"WHEN regexp_full_match({text}, '{_NAIVE}') THEN 'E106'"
    if counts is None:
        value = f"CASE WHEN regexp_full_match({text}, '{_MOMENT}') THEN epoch_us(TRY_CAST({text} AS TIMESTAMPTZ)) END"
    else:
        number = f"TRY_CAST({text} AS BIGINT)"
        value = f"CASE WHEN regexp_full_match({text}, '{_INTEGER}') AND {counts.covers(number)} THEN {number} * {counts.unit_us} END"
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", column, naive, f"WHEN {value} IS NULL THEN 'E107'"))
