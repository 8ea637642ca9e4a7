"""Convert text to typed values by SQL that DuckDB runs over whole columns: a value where it is valid, else the code of what it is.

All of it comes from the rules of `rules`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.cells import id_sql, times
from lodestar.data.contract.cells.sql import quoted, texts
from lodestar.data.contract.cells.texts import Cells, is_literal, is_odd, null_of, written
from lodestar.data.contract.rules import (
    BAD_ID,
    IDS_CHANGED,
    IN_FUTURE,
    KEY_TWICE,
    MINUS_ONE,
    NULL_TEXT,
    OUT_OF_RANGE,
    TOO_LONG,
    WRONG_TYPE,
    ColumnRule,
)
from lodestar.errors import DataError, Location


def _is_list(kind: "pa.DataType") -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


# DuckDB rejects a map with a duplicate or null key with an error that ends the query, so maps are read as lists of entries.
_ENTRIES = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
# Arrow types of a typed file that a column of each kind accepts, and the type they are cast to.
_TYPED: dict[schema.Kind, tuple[tuple[Callable[["pa.DataType"], bool], "pa.DataType"], ...]] = {
    schema.Kind.TIME: ((lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None, pa.timestamp("us", tz="UTC")),),
    schema.Kind.FLOAT: ((pa.types.is_floating, pa.float64()), (pa.types.is_integer, pa.float64())),
    schema.Kind.INT: ((pa.types.is_integer, pa.int64()),),
    schema.Kind.BOOL: ((pa.types.is_boolean, pa.bool_()),),
    schema.Kind.TEXT_LIST: ((_is_list, pa.list_(pa.string())),),
    schema.Kind.FLOAT_LIST: ((_is_list, pa.list_(pa.float32())),),
    schema.Kind.STRING_MAP: ((pa.types.is_map, _ENTRIES),),
}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """SQL of a column's value (NULL where missing or invalid), of the code of what cannot be read, and of one of what was changed.

    Each code is NULL where there is none; a text that stands for null comes after its code: `E114,n/a`.
    """

    value: str
    fault: str
    note: str = "NULL"


def prepare(column: schema.Column, values: "pa.ChunkedArray", file: str) -> "pa.ChunkedArray":
    """Arrow values in the type that `conversion` expects: a type accepted for the column's kind is cast, any other becomes text.

    DataError E107 for a type that has no text form, E104 for text that is not UTF-8.
    """
    kind = values.type
    if pa.types.is_dictionary(kind):
        return prepare(column, values.cast(kind.value_type), file)
    place = Location(file=file, column=column.name)
    arrow_type = next((arrow for is_like, arrow in _TYPED.get(column.kind, ()) if is_like(kind)), pa.string())
    try:
        if pa.types.is_floating(kind) and pa.types.is_string(arrow_type):
            return _written_numbers(values)
        # Integers that a float does not keep exactly are left to the row validator.
        plain = values.cast(arrow_type, safe=not (pa.types.is_timestamp(kind) or pa.types.is_integer(kind)))
        plain.validate(full=True)
    except pa.ArrowNotImplementedError as error:
        raise DataError(WRONG_TYPE, f"{kind} is no type for it", remedy="Write text, numbers or lists of text.", place=place) from error
    except pa.ArrowInvalid as error:
        raise DataError("E104", f"the text is not UTF-8 ({error})", remedy="Write the column as text in UTF-8.", place=place) from error
    return plain


def _written_numbers(values: "pa.ChunkedArray") -> "pa.ChunkedArray":
    """Floats as text: whole ones as `5.0`, all digits of them, as a file of text has them; a NaN is null."""
    import pyarrow.compute as pc

    numbers = values.cast(pa.float64())
    is_whole = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), float(rules.NOT_EXACT)))
    whole = pc.if_else(is_whole, numbers, None).cast(pa.int64()).cast(pa.string())
    text = pc.if_else(is_whole, pc.binary_join_element_wise(whole, pa.scalar(".0"), ""), numbers.cast(pa.string()))
    return pc.if_else(pc.is_nan(numbers), None, text)


def conversion(rule: ColumnRule, cells: Cells) -> Conversion:
    """The conversion of a column that `prepare` returned as Arrow type `cells.kind`; E170 where a value is too long."""
    name = quoted(rule.name)
    if pa.types.is_string(cells.kind):
        return _of_text(rule, cells)
    if pa.types.is_timestamp(cells.kind):
        value = f"epoch_us({name})"
        return Conversion(value=value, fault=_fault(f"{name} IS NULL", rule, *_not_in_time(value, rule, cells)))
    if pa.types.is_floating(cells.kind) or pa.types.is_integer(cells.kind):
        return _bounded_conversion(f"nullif({name}, 'nan')" if pa.types.is_floating(cells.kind) else name, rule)
    return _nested_conversion(name, rule, cells.most_bytes)


def _of_text(rule: ColumnRule, cells: Cells) -> Conversion:
    """The conversion of a column of text that `read_texts` read: only what its traits may have is looked for."""
    if not cells.traits.has_text:
        return Conversion(value="NULL", fault=_if_missing(rule))
    text = quoted(rule.name)
    if rule.kind is schema.Kind.ID:
        found, cases = _id_conversion(text, rule, cells), []
    else:
        found, cases = _text_conversion(text, rule, cells), [f"WHEN strlen({text}) > {cells.most_bytes} THEN '{TOO_LONG}'"]
    if is_odd(rule, cells):
        cases.append(f"WHEN {null_of(rule.name)} IS NOT NULL THEN '{rule.missing or NULL_TEXT},' || {null_of(rule.name)}")
    fault = f"CASE {' '.join(cases)} ELSE ({found.fault}) END" if cases else found.fault
    return Conversion(value=found.value, fault=fault, note=_note(text, rule, cells) if is_odd(rule, cells) else "NULL")


def _note(text: str, rule: ColumnRule, cells: Cells) -> str:
    """SQL of the code of an id that is written otherwise than in its normal form, or that is -1."""
    cases = [f"WHEN {text} <> {written(rule.name)} THEN '{IDS_CHANGED}'"] if rule.is_id and not is_literal(rule, cells) else []
    if rule.name in {schema.USER_ID, schema.ITEM_ID}:
        cases.append(f"WHEN {text} = '-1' THEN '{MINUS_ONE}'")
    return f"CASE {' '.join(cases)} END" if cases else "NULL"


def _nested_conversion(name: str, rule: ColumnRule, most_bytes: int) -> Conversion:
    """The conversion of lists and maps of a typed file; their size is that of the values plus one byte each."""
    if rule.kind is schema.Kind.STRING_MAP:
        return _entries_conversion(name, rule, most_bytes)
    if rule.kind is schema.Kind.FLOAT_LIST:
        cases = [f"WHEN 4 * len({name}) > {most_bytes} THEN '{TOO_LONG}'", f"WHEN {_has_no_number(name)} THEN '{OUT_OF_RANGE}'"]
    else:
        cases = [f"WHEN {_size(name, 'one')} > {most_bytes} THEN '{TOO_LONG}'"] if rule.kind is schema.Kind.TEXT_LIST else []
    return Conversion(value=name, fault=_fault(f"{name} IS NULL", rule, *cases))


def _entries_conversion(name: str, rule: ColumnRule, most_bytes: int) -> Conversion:
    """The conversion of a typed file's map, read as a list of entries: E173 for a duplicate key, E107 for a null one."""
    keys = f"list_transform({name}, lambda one: one.key)"
    is_good = f"len({keys}) = len(list_distinct({keys}))"
    cases = [
        f"WHEN {_size(name, 'one.key', 'one.value')} > {most_bytes} THEN '{TOO_LONG}'",
        f"WHEN len({keys}) > len(list_filter({keys}, lambda one: one IS NOT NULL)) THEN '{WRONG_TYPE}'",
        f"WHEN NOT {is_good} THEN '{KEY_TWICE}'",
    ]
    return Conversion(value=f"CASE WHEN {is_good} THEN map_from_entries({name}) END", fault=_fault(f"{name} IS NULL", rule, *cases))


def _size(values: str, *parts: str) -> str:
    length = " + ".join(f"1 + coalesce(strlen({part}), 0)" for part in parts)
    return f"list_sum(list_transform({values}, lambda one: {length}))"


def _has_no_number(values: str) -> str:
    return f"len(list_filter({values}, lambda one: one IS NULL OR NOT isfinite(one))) > 0"


def _text_conversion(text: str, rule: ColumnRule, cells: Cells) -> Conversion:
    """The conversion of a text value to the column's kind, but an id."""
    if rule.kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        return _number_conversion(f"nullif(regexp_replace({text}, '^{rules.NOT_A_NUMBER}$', ''), '')", rule)
    if rule.kind is schema.Kind.TIME:
        value, faults = times.value_and_faults(text, cells.form, cells.options.time_zone)
        return Conversion(value=value, fault=_fault(f"{text} IS NULL", rule, *faults, *_not_in_time(value, rule, cells)))
    json = f"TRY_CAST({text} AS JSON)"
    if rule.kind is schema.Kind.STRING_MAP:
        return _pairs_conversion(text, json, rule, cells.most_bytes)
    low = f"lower({text})"
    values = {
        schema.Kind.TEXT: text,
        schema.Kind.BOOL: f"CASE WHEN {low} IN ({texts(rules.TRUE)}) THEN true WHEN {low} IN ({texts(rules.FALSE)}) THEN false END",
        schema.Kind.TEXT_LIST: f"""
            CASE WHEN starts_with({text}, '[') THEN TRY_CAST({json} AS VARCHAR[]) ELSE string_split({text}, '|') END""",
        schema.Kind.FLOAT_LIST: f"TRY_CAST({json} AS FLOAT[])",
    }
    value = values[rule.kind]
    cases = [f"WHEN {value} IS NULL THEN '{WRONG_TYPE}'"]
    if rule.kind is schema.Kind.TEXT_LIST:
        cases.append(f"WHEN {_has_inexact(text, json, '$[*]')} THEN '{WRONG_TYPE}'")
    if rule.kind is schema.Kind.FLOAT_LIST:
        cases.append(f"WHEN {_has_no_number(value)} THEN '{OUT_OF_RANGE}'")
    if rule.choices:
        cases.append(f"WHEN {value} NOT IN ({texts(rule.choices)}) THEN '{OUT_OF_RANGE}'")
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", rule, *cases))


def _has_inexact(text: str, json: str, path: str) -> str:
    """SQL condition: JSON holds a number too large to be kept exactly."""
    is_one = f"json_type(one) = 'DOUBLE' AND regexp_matches(one::VARCHAR, '[.eE]') AND abs(TRY_CAST(one AS DOUBLE)) >= {rules.NOT_EXACT}"
    has_one = f"len(list_filter(json_extract({json}, '{path}'), lambda one: {is_one})) > 0"
    return f"CASE WHEN regexp_matches({text}, '{rules.LARGE_ELEMENT}') THEN {has_one} ELSE false END"


def _pairs_conversion(text: str, json: str, rule: ColumnRule, most_bytes: int) -> Conversion:
    """The conversion of a JSON object of texts; a duplicate key (E173) must be found first, as DuckDB ends the query on one."""
    is_object = f"starts_with({text}, '{{') AND {json} IS NOT NULL"
    keys = f"CASE WHEN {is_object} THEN json_keys({json}) END"
    is_unique = f"len({keys}) = len(list_distinct({keys}))"
    value = f"CASE WHEN {is_object} AND {is_unique} THEN TRY_CAST({json} AS MAP(VARCHAR, VARCHAR)) END"
    cases = [f"WHEN NOT {is_unique} THEN '{KEY_TWICE}'", f"WHEN {value} IS NULL THEN '{WRONG_TYPE}'"]
    cases.append(f"WHEN {_has_inexact(text, json, '$.*')} THEN '{WRONG_TYPE}'")
    if most_bytes == rules.MAX_SENT_BYTES:
        cases.append(f"WHEN len({keys}) > {rules.MAX_PAIRS} THEN '{TOO_LONG}'")
    return Conversion(value=value, fault=_fault(f"{text} IS NULL", rule, *cases))


def _fault(missing: str, rule: ColumnRule, *cases: str) -> str:
    """SQL of a value's code: the rule's own where a value is missing, else the first case that holds, else NULL."""
    return " ".join(("CASE WHEN", missing, "THEN", _if_missing(rule), *cases, "END"))


def _if_missing(rule: ColumnRule) -> str:
    return f"'{rule.missing}'" if rule.missing else "NULL"


def _id_conversion(text: str, rule: ColumnRule, cells: Cells) -> Conversion:
    cases = [f"WHEN strlen({text}) > {schema.MAX_ID_BYTES} THEN '{BAD_ID}'"]
    if cells.traits.has_point and not is_literal(rule, cells):
        cases.append(f"WHEN {id_sql.is_shortened(text)} THEN '{WRONG_TYPE}'")
    return Conversion(value=text, fault=_fault(f"{text} IS NULL", rule, *cases))


def _number_conversion(text: str, rule: ColumnRule) -> Conversion:
    is_whole = rule.kind is schema.Kind.INT
    pattern, kind = (rules.WHOLE, "BIGINT") if is_whole else (rules.NUMBER, "DOUBLE")
    value = f"CASE WHEN regexp_full_match({text}, '{pattern}') THEN TRY_CAST({text} AS {kind}) END"
    return _bounded_conversion(value, rule, f"WHEN {text} IS NOT NULL AND {value} IS NULL THEN '{WRONG_TYPE}'")


def _bounded_conversion(value: str, rule: ColumnRule, *cases: str) -> Conversion:
    """The conversion of a number: E102 outside the column's bounds; a NaN is above them."""
    whens = (*cases, *_out_of_bounds(value, rule), f"WHEN {value} IS NULL THEN {_if_missing(rule)}")
    return Conversion(value=value, fault=f"CASE {' '.join(whens)} END")


def _not_in_time(value: str, rule: ColumnRule, cells: Cells) -> list[str]:
    """Cases of a time out of its bounds, or after now where it tells of the past."""
    future = [f"WHEN {value} > {cells.latest_us} THEN '{IN_FUTURE}'"] if rule.is_past else []
    return [*_out_of_bounds(value, rule), *future]


def _out_of_bounds(value: str, rule: ColumnRule) -> list[str]:
    bounds = (("<", rule.low), (">", rule.high))
    return [f"WHEN {value} {sign} {bound} THEN '{OUT_OF_RANGE}'" for sign, bound in bounds if bound is not None]
