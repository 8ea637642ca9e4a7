"""SQL of the rules for whole rows of a table."""

from collections.abc import Sequence

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.cells.sql import quoted, texts
from lodestar.data.contract.rules import AnyOf, KnownType, LengthIs, NotInFuture, Positive, RequiredColumn, RowRule

SHOWN_LETTERS = 64  # of an event type that is unknown


def faults(table: schema.Table, names: Sequence[str], faulty: Sequence[str], *, is_landed: bool, now_us: int) -> list[str]:
    """SQL of the faults by the row rules that apply to a file with these columns, in their order; `faulty` have a fault of their own."""
    found = (_check(rule, names, is_landed, now_us) for rule in rules.RULES[table.name].rows)
    return [_fault(code, columns, broken, faulty) for code, columns, broken in found if broken]


def _fault(code: str, columns: Sequence[str], broken: str, faulty: Sequence[str]) -> str:
    """SQL of the fault where a rule is broken: of the first of its columns that cannot be read, else the rule's own code."""
    own = [_as_needed(code, quoted(name + "?")) for name in columns if name in faulty]
    return f"CASE WHEN {broken} THEN coalesce({', '.join([*own, _written(code, columns)])}) END"


def _as_needed(code: str, fault: str) -> str:
    """SQL of the fault of a cell that its row needs: a text that stands for null has the code of one without a value."""
    rest = len(rules.NULL_TEXT) + 1
    return f"CASE WHEN starts_with({fault}, '{rules.NULL_TEXT}') THEN '{code[: rest - 1]}' || substr({fault}, {rest}) ELSE {fault} END"


def _written(code: str, columns: Sequence[str]) -> str:
    return f"'{code}:{columns[0]}'"


def _check(rule: RowRule, names: Sequence[str], is_landed: bool, now_us: int) -> tuple[str, list[str], str]:
    """Code, columns and SQL condition of a broken row rule; the condition is empty if the file lacks the columns that it is about.

    The fault of a column that cannot be read comes before the rule's own code.
    """
    code = rule.code
    match rule:
        case NotInFuture():
            needed, columns = {rule.column}, [rule.column]
            known_us = f"coalesce({quoted(schema.INGESTED_AT)}, {now_us})" if schema.INGESTED_AT in names else str(now_us)
            broken = f"{quoted(rule.column)} > {known_us} + {rules.MAX_CLOCK_SKEW_US}"
        case AnyOf():
            columns = [name for name in rule.columns if name in names]
            needed = {rule.columns[-1]}
            broken = " AND ".join(f"{quoted(name)} IS NULL" for name in columns)
            if columns == [schema.RATING]:
                code = rules.NO_RATING
        case LengthIs():
            needed, columns = {rule.column, rule.values}, [rule.column]
            broken = f"{quoted(rule.column)} <> len({quoted(rule.values)})"
        case KnownType():
            needed, columns = {rule.column}, [rule.column]
            broken = f"{quoted(rule.column)} NOT IN ({texts(rule.choices)})"
            code = f"{code},' || left({quoted(rule.column)}, {SHOWN_LETTERS}) || '"
        case RequiredColumn():
            needed, columns = set(), [rule.column]
            broken = f"{among} AND {_is_missing(rule.column, names)}" if (among := _among(names, rule.types, is_landed)) else ""
            if code == rules.MISSING_FOR_TYPE and not is_landed:
                needed = {rule.column} if rule.column == schema.RATING else {""}
                code = rules.NO_RATING
        case Positive():
            needed, columns = {rule.column}, [rule.column]
            broken = f"{among} AND {quoted(rule.column)} <= 0" if (among := _among(names, rule.types, is_landed)) else ""
    return code, columns, broken if needed <= set(names) else ""


def _among(names: Sequence[str], types: Sequence[str], is_landed: bool) -> str:
    """SQL condition: the event is of one of these types, a rating standing for a type that is not given; empty where nothing says it."""
    has_type, has_rating = (name in names for name in (schema.EVENT_TYPE, schema.RATING))
    if not has_type:
        return ("true" if str(schema.EventType.RATING) in types else "") if has_rating else ""
    kind = quoted(schema.EVENT_TYPE)
    if has_rating and not is_landed:
        kind = f"coalesce({kind}, '{schema.EventType.RATING}')"
    return f"{kind} IN ({texts(types)})"


def _is_missing(column: str, names: Sequence[str]) -> str:
    return f"{quoted(column)} IS NULL" if column in names else "true"
