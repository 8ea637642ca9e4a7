"""Row validator of the collector: it accepts the rows that `lodestar data ingest` accepts, with the same error codes.

The batch validates whole columns by SQL, which is cheap per row of millions and far too slow for a request with one. So
`lodestar.data.contract.rules` declares once what a row must be; Python functions are made from it here, SQL there, and tests hold both to
the same results. A cell that cannot be read and that its row does not need is left out here, and so is null in both; the sender is told.
The collector is stricter in two points: only `attrs` is nested, by one level, and a number beyond 64 bits is refused, where the batch reads
its digits from the text.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from lodestar import schema
from lodestar.data.contract import row_errors, rules
from lodestar.data.contract.rules import BAD_ID, NO_ROW, NULL_TEXT, AnyOf, KnownType, NotInFuture, Positive, RequiredColumn
from lodestar.errors import Location
from serving.collector.cell_conversions import conversion
from serving.collector.duplicate_keys import NESTED
from serving.collector.row_error import Rejection, RowError

LATEST_AFTER = timedelta(microseconds=rules.MAX_CLOCK_SKEW_US)
SHOWN_CHARACTERS = 64
NO_NAMES: frozenset[str] = frozenset()


class EventValidator:
    """Validates and converts rows of one table, events or impressions, for the landing."""

    def __init__(self, table: schema.Table) -> None:
        self.table = table
        columns = [rule for rule in rules.RULES[table.name].columns if rule.name != schema.INGESTED_AT]
        self._columns = tuple((rule.name, conversion(rule), rules.missing_code(rule, table.names, is_landed=True)) for rule in columns)
        self._convert = {name: convert for name, convert, _ in self._columns}
        self._required = frozenset(name for name, _, missing in self._columns if missing)
        self._names = frozenset(table.names)
        self._rules = _row_rules(table)
        self._time_column, (self._user, self._session) = self._rules.not_in_future.column, self._rules.sender.columns

    def row(self, given: Any, latest: datetime, ingested_at: str, nulled: Counter[tuple[str, str]]) -> dict[str, Any] | Rejection:
        """The converted row, with the contract's columns and `ingested_at`, or its rejection; a time after `latest` is E105.

        Cells that cannot be read and that the row does not need are left out, and added to `nulled` by column and code.
        """
        if not isinstance(given, dict):
            return Rejection(NO_ROW, "", "a row is a JSON object")
        faults: dict[str, RowError] = {}
        try:
            kept = self._kept(given, faults)
            kept[self._time_column], when = kept[self._time_column]
            if when > latest:
                raise RowError(self._rules.not_in_future.code, field=self._time_column)  # noqa: TRY301  # saves a function call per row
            self._check_across(kept, faults)
        except RowError as error:
            return self._rejection(error, error.field, given)
        if faults:
            nulled.update((name, fault.code) for name, fault in faults.items())
        kept[schema.INGESTED_AT] = ingested_at
        # Readers of a part expect these columns even if no row has a value.
        kept.setdefault(schema.USER_ID, None)
        kept.setdefault(schema.ITEM_ID, None)
        return kept

    def _kept(self, given: Mapping[str, Any], faults: dict[str, RowError]) -> dict[str, Any]:
        """The converted columns of a row: in the row's order, which is faster, and again in the contract's order if one is invalid."""
        kept: dict[str, Any] = {}
        try:
            for name, value in given.items():
                if value is not None and (convert := self._convert.get(name)) is not None and (written := convert(value)) is not None:
                    kept[name] = written
        except RowError:
            return self._kept_in_order(given, faults)
        return kept if self._required <= kept.keys() else self._kept_in_order(given, faults)

    def _kept_in_order(self, given: Mapping[str, Any], faults: dict[str, RowError]) -> dict[str, Any]:
        """The converted columns in the contract's order; RowError for the first required one that is invalid or missing."""
        kept: dict[str, Any] = {}
        for name, convert, missing in self._columns:
            value = given.get(name)
            try:
                written = None if value is None else convert(value)
            except RowError as error:
                code = missing if missing and error.code == NULL_TEXT else error.code
                fault = RowError(code, error.message, name)
                if missing:
                    raise fault from error
                faults[name] = fault
                continue
            if written is not None:
                kept[name] = written
            elif missing:
                raise RowError(missing, field=name)
        return kept

    def ignored(self, given: Mapping[str, Any]) -> frozenset[str]:
        """Names of fields outside the contract."""
        return NO_NAMES if self._names.issuperset(given) else frozenset(given) - self._names

    def _check_across(self, row: Mapping[str, Any], faults: Mapping[str, RowError]) -> None:
        """Rules over several columns, in the order of the batch; a column that is needed and cannot be read is named by its own code."""
        found = self._rules
        if self._user not in row and self._session not in row:
            raise self._needed(found.sender.code, self._user, self._session, faults)
        if found.known_type is not None:
            kind = row[found.known_type.column]
            needs = found.needs.get(kind)
            if needs is None:
                raise RowError(found.known_type.code, field=found.known_type.column)
            for need in needs:
                if need.column not in row:
                    raise self._needed(need.code, need.column, need.column, faults)
            for rule in found.positive.get(kind, ()):
                if row.get(rule.column, 1) <= 0:
                    raise RowError(rule.code, field=rule.column)

    @staticmethod
    def _needed(code: str, column: str, other: str, faults: Mapping[str, RowError]) -> RowError:
        """The error of a row without a value in a column: that of the cell which cannot be read, where there is one."""
        fault = faults.get(column) or faults.get(other)
        if fault is None:
            return RowError(code, field=column)
        return RowError(code if fault.code == NULL_TEXT else fault.code, fault.message, fault.field)

    def _rejection(self, error: RowError, field: str, given: Mapping[str, Any]) -> Rejection:
        if error.message:
            return Rejection(error.code, field, error.message)
        value = given.get(field)
        text = "" if value is None or type(value) in NESTED else str(value)
        location = Location(file="", column=field, value=text if error.code == BAD_ID else text[:SHOWN_CHARACTERS])
        return Rejection(error.code, field, row_errors.bad_row(error.code, self.table, location).message)


class _RowRules(NamedTuple):
    """The row rules of a table by kind; columns that a type needs, and that are positive, under their type."""

    not_in_future: NotInFuture
    sender: AnyOf
    known_type: KnownType | None
    needs: dict[str, tuple[RequiredColumn, ...]]
    positive: dict[str, tuple[Positive, ...]]


def _row_rules(table: schema.Table) -> _RowRules:
    """The row rules of a table; TypeError for a kind that is not checked here. A type is required here, whatever may stand for it."""
    found = rules.RULES[table.name].rows
    if unchecked := [rule for rule in found if not isinstance(rule, NotInFuture | AnyOf | KnownType | RequiredColumn | Positive)]:
        raise TypeError(f"the collector has no check for {unchecked}")
    known_type = next((rule for rule in found if isinstance(rule, KnownType)), None)
    kinds = known_type.choices if known_type else ()
    return _RowRules(
        not_in_future=next(rule for rule in found if isinstance(rule, NotInFuture)),
        sender=next(rule for rule in found if isinstance(rule, AnyOf)),
        known_type=known_type,
        needs={kind: tuple(rule for rule in found if isinstance(rule, RequiredColumn) and kind in rule.types) for kind in kinds},
        positive={kind: tuple(rule for rule in found if isinstance(rule, Positive) and kind in rule.types) for kind in kinds},
    )
