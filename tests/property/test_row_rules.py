"""The table of row rules: a row that breaks one of its rules is refused by the collector and by the batch, with the rule's code.

A cell that breaks the rule of a column which its row does not need is null in both, and counted under the same code.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import inf, nextafter
from typing import Any

import pytest

from lodestar import schema
from lodestar.data.contract import defaults, rules
from lodestar.schema import Kind
from tests.property.test_collector import EVENT, OWN_NAME, WHOLE, Outcome, by_batch, by_collector


def beyond(rule: rules.ColumnRule, bound: float, sign: int) -> float:
    """The number next to a bound, outside it."""
    return nextafter(bound, inf * sign) if rule.kind is Kind.FLOAT else int(bound) + sign


def broken_columns(table: schema.Table) -> Iterator[tuple[rules.ColumnRule, str, Any]]:
    """For each rule of a column, values that break it, with the code that says so."""
    wrong: dict[Kind, Any] = {Kind.TIME: "noon", Kind.FLOAT: "many", Kind.INT: "1.5", Kind.BOOL: "perhaps", Kind.STRING_MAP: "[]"}
    for rule in rules.RULES[table.name].columns:
        if rule.name == schema.INGESTED_AT:
            continue
        if rule.missing and rule.name != schema.EVENT_ID:  # which is made of the row where it has none
            yield rule, rule.missing, None
        if rule.kind in wrong:
            yield rule, rules.WRONG_TYPE, wrong[rule.kind]
        if rule.kind is Kind.ID:
            yield rule, rules.BAD_ID, "x" * (schema.MAX_ID_BYTES + 1)
        if rule.kind is Kind.TEXT:
            yield rule, rules.TOO_LONG, "x" * (rules.MAX_SENT_BYTES + 1)
        if rule.kind is Kind.STRING_MAP:
            yield rule, rules.KEY_TWICE, '{"a": 1, "a": 2}'
            yield rule, rules.TOO_LONG, {str(number): 1 for number in range(rules.MAX_PAIRS + 1)}
        if rule.kind is Kind.TIME:
            yield rule, rules.NAIVE, "2024-01-01T12:00:00"
            yield rule, rules.OUT_OF_RANGE, "0000-01-01T00:00:00Z"
        else:
            bounds = ((rule.low, -1), (rule.high, 1))
            yield from ((rule, rules.OUT_OF_RANGE, beyond(rule, bound, sign)) for bound, sign in bounds if bound is not None)
        if rule.choices:
            yield rule, rules.OUT_OF_RANGE, "none of them"


def broken_rows(table: schema.Table) -> Iterator[tuple[rules.RowRule, str, dict[str, Any]]]:
    """For each rule of whole rows, one that breaks it, with the code that says so."""
    for rule in rules.RULES[table.name].rows:
        match rule:
            case rules.NotInFuture():
                yield rule, rules.IN_FUTURE, {rule.column: (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
            case rules.AnyOf():
                yield rule, rule.code, dict.fromkeys(rule.columns)
            case rules.KnownType():
                yield rule, rules.UNKNOWN_TYPE, {rule.column: "veiw"}
            case rules.RequiredColumn():
                yield from ((rule, rule.code, {schema.EVENT_TYPE: kind, rule.column: None}) for kind in rule.types)
            case rules.Positive():
                yield from ((rule, rule.code, {schema.EVENT_TYPE: kind, rule.column: 0}) for kind in rule.types)


@pytest.mark.parametrize("table", WHOLE, ids=lambda table: table.name)
def test_each_rule_of_the_table_is_checked_in_both_forms(table: schema.Table) -> None:
    broken: list[tuple[str, str, dict[str, Any]]] = []
    for rule, code, value in broken_columns(table):
        by_type = schema.REQUIRED_COLUMNS[schema.EventType(str(EVENT[schema.EVENT_TYPE]))] if table is schema.EVENTS else ()
        needed = rules.missing_code(rule, table.names, is_landed=True) or rule.alternative or rule.name in by_type
        broken.append((code, "" if needed else rule.name, {rule.alternative or rule.name: None, rule.name: value}))
    broken += [(code, "", row) for _, code, row in broken_rows(table)]
    rules_broken = {rule.name for rule, *_ in broken_columns(table)} | {rule for rule, *_ in broken_rows(table)}
    assert rules_broken == {rule.name for rule in rules.RULES[table.name].columns} - {schema.INGESTED_AT} | {*rules.RULES[table.name].rows}
    for start in range(0, len(broken), 5):  # the report names up to five rows of a code
        some = broken[start : start + 5]
        rows = [{**WHOLE[table], OWN_NAME[table]: f"odd{number}", **row} for number, (_, _, row) in enumerate(some)]
        wanted = Outcome({number: code for number, (code, column, _) in enumerate(some) if not column}, {})
        for code, column, _ in some:
            if column:
                wanted.nulled[column, code] = wanted.nulled.get((column, code), 0) + 1
        assert by_collector(table, rows) == wanted
        assert by_batch(table, rows) == wanted


def test_what_is_derived_is_what_the_defaults_fill() -> None:
    assert {name: set(columns) for name, columns in rules.DERIVED.items()} == {name: set(found) for name, found in defaults.RULES.items()}
