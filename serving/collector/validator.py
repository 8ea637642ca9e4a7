"""Row validator of the collector: it accepts the rows that `lodestar data ingest` accepts, with the same error codes.

The batch validates whole columns by SQL, which is cheap per row of millions and far too slow for a request with one. So
`lodestar.data.contract.rules` declares once what a row must be; Python functions are made from it here, SQL there, and tests hold both to
the same results. The collector is stricter in two points: only `attrs` is nested, by one level, and a number beyond 64 bits is refused,
where the batch reads its digits from the text.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import Any

import orjson

from lodestar import schema
from lodestar.data.contract import row_errors, rules
from lodestar.data.contract.rules import (
    BAD_ID,
    KEY_TWICE,
    NO_ROW,
    OUT_OF_RANGE,
    TOO_LONG,
    WRONG_TYPE,
    AnyOf,
    ColumnRule,
    KnownType,
    NotInFuture,
    RequiredColumn,
)
from lodestar.errors import Location
from serving.collector import duplicate_keys
from serving.collector.duplicate_keys import NESTED
from serving.collector.row_error import Rejection, RowError
from serving.collector.timestamps import Timestamp, parse_timestamp

MAX_UTF8_BYTES_PER_CHARACTER = 4  # of a character in UTF-8
LATEST_AFTER = timedelta(microseconds=rules.MAX_CLOCK_SKEW_US)
SHOWN_CHARACTERS = 64
SHORT_ID_CHARACTERS = schema.MAX_ID_BYTES // MAX_UTF8_BYTES_PER_CHARACTER
SHORT_CHARACTERS = rules.MAX_SENT_BYTES // MAX_UTF8_BYTES_PER_CHARACTER  # texts up to here need no count of bytes

NOT_AN_ID = frozenset(rules.NOT_AN_ID)
BOOLEAN_WORDS = frozenset((*rules.TRUE, *rules.FALSE))
# The characters that DuckDB's trim removes: Unicode's space separators, and neither tabs nor line ends.
SPACES = "".join(chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) == "Zs")
_NUMBER, _WHOLE, _NOT_A_NUMBER = (re.compile(pattern, re.ASCII) for pattern in (rules.NUMBER, rules.WHOLE, rules.NOT_A_NUMBER))
_LARGE = 10**18
NO_NAMES: frozenset[str] = frozenset()
NOT_PLAIN = "attrs is an object of plain values"

Convert = Callable[[Any], Any]


class EventValidator:
    """Validates and converts rows of one table, events or impressions, for the landing."""

    def __init__(self, table: schema.Table) -> None:
        self.table = table
        columns = (rule for rule in rules.RULES[table.name].columns if rule.name != schema.INGESTED_AT)
        self._columns = tuple((rule.name, _conversion(rule), "" if rule.alternative else rule.missing) for rule in columns)
        self._convert = {name: convert for name, convert, _ in self._columns}
        self._required = frozenset(name for name, _, missing in self._columns if missing)
        self._names = frozenset(table.names)
        self._not_in_future, self._any_of, self._known_type, self._needs = _row_rules(table)
        self._time_column, (self._user, self._session) = self._not_in_future.column, self._any_of.columns

    def row(self, given: Any, latest: datetime, ingested_at: str) -> dict[str, Any] | Rejection:
        """The converted row, with the contract's columns and `ingested_at`, or its rejection; a time after `latest` is E105."""
        if not isinstance(given, dict):
            return Rejection(NO_ROW, "", "a row is a JSON object")
        try:
            kept = self._kept(given)
            kept[self._time_column], when = kept[self._time_column]
            if when > latest:
                raise RowError(self._not_in_future.code, field=self._time_column)  # noqa: TRY301  # saves a function call per row
            self._check_across(kept)
        except RowError as error:
            return self._rejection(error, error.field, given)
        kept[schema.INGESTED_AT] = ingested_at
        # Readers of a part expect these columns even if no row has a value.
        kept.setdefault(schema.USER_ID, None)
        kept.setdefault(schema.ITEM_ID, None)
        return kept

    def _kept(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The converted columns of a row: in the row's order, which is faster, and again in the contract's order if one is invalid."""
        kept: dict[str, Any] = {}
        try:
            for name, value in given.items():
                if value is not None and (convert := self._convert.get(name)) is not None and (written := convert(value)) is not None:
                    kept[name] = written
        except RowError:
            return self._kept_in_order(given)
        return kept if self._required <= kept.keys() else self._kept_in_order(given)

    def _kept_in_order(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The converted columns in the contract's order; RowError for the first that is invalid or missing."""
        kept: dict[str, Any] = {}
        for name, convert, missing in self._columns:
            value = given.get(name)
            try:
                written = None if value is None else convert(value)
            except RowError as error:
                raise RowError(error.code, error.message, name) from error
            if written is not None:
                kept[name] = written
            elif missing:
                raise RowError(missing, field=name)
        return kept

    def ignored(self, given: Mapping[str, Any]) -> frozenset[str]:
        """Names of fields outside the contract."""
        return NO_NAMES if self._names.issuperset(given) else frozenset(given) - self._names

    def _check_across(self, row: Mapping[str, Any]) -> None:
        """Rules over several columns, in the order of the batch: E103 without a user and session, E110 for an unknown event type."""
        if self._user not in row and self._session not in row:
            raise RowError(self._any_of.code, field=self._user)
        if self._known_type is not None:
            needs = self._needs.get(row[self._known_type.column])
            if needs is None:
                raise RowError(self._known_type.code, field=self._known_type.column)
            for need in needs:
                if need.column not in row:
                    raise RowError(need.code, field=need.column)

    def _rejection(self, error: RowError, field: str, given: Mapping[str, Any]) -> Rejection:
        if error.message:
            return Rejection(error.code, field, error.message)
        value = given.get(field)
        text = "" if value is None or type(value) in NESTED else str(value)
        location = Location(file="", column=field, value=text if error.code == BAD_ID else text[:SHOWN_CHARACTERS])
        return Rejection(error.code, field, row_errors.bad_row(error.code, self.table, location).message)


def _row_rules(table: schema.Table) -> tuple[NotInFuture, AnyOf, KnownType | None, dict[str, tuple[RequiredColumn, ...]]]:
    """The row rules of a table by kind, columns required by type under their type; TypeError for a kind that is not checked here."""
    found = rules.RULES[table.name].rows
    if unchecked := [rule for rule in found if not isinstance(rule, NotInFuture | AnyOf | KnownType | RequiredColumn)]:
        raise TypeError(f"the collector has no check for {unchecked}")
    required = [rule for rule in found if isinstance(rule, RequiredColumn)]
    not_in_future = next(rule for rule in found if isinstance(rule, NotInFuture))
    any_of = next(rule for rule in found if isinstance(rule, AnyOf))
    known_type = next((rule for rule in found if isinstance(rule, KnownType)), None)
    kinds = known_type.choices if known_type else ()
    return not_in_future, any_of, known_type, {kind: tuple(rule for rule in required if kind in rule.types) for kind in kinds}


def _conversion(rule: ColumnRule) -> Convert:
    """The conversion of a column's values: to what is written, None for an empty value, RowError for an invalid one."""
    if rule.kind is schema.Kind.TEXT and rule.choices:
        return partial(_choice, frozenset(rule.choices))
    if rule.kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        low, high = -inf if rule.low is None else rule.low, inf if rule.high is None else rule.high
        return partial(_float if rule.kind is schema.Kind.FLOAT else _int, low, high)
    plain: dict[schema.Kind, Convert] = {
        schema.Kind.ID: _id,
        schema.Kind.TEXT: _text,
        schema.Kind.TIME: _time,
        schema.Kind.BOOL: _bool,
        schema.Kind.STRING_MAP: _attributes,
    }
    return plain[rule.kind]


def _written(value: Any) -> str:
    """A scalar value as a CSV file would have it."""
    if isinstance(value, str):
        return value
    if type(value) in NESTED:
        raise RowError(WRONG_TYPE)
    _check_exact(value)
    return orjson.dumps(value).decode()


def _check_exact(value: Any) -> None:
    """RowError E107 for a float too large to be exact: different numbers, and so different ids, would become one."""
    if type(value) is float and abs(value) >= rules.NOT_EXACT:
        raise RowError(
            WRONG_TYPE, "a number of more than 64 bits, or with a point and 2^52 or more, is not stored exactly: send it as a text"
        )


def _id(value: Any) -> str | None:
    text = value if type(value) is str else _written(value)
    if text in NOT_AN_ID or (text[:1] in SPACES and not text.strip(SPACES)):
        return None
    if len(text) > SHORT_ID_CHARACTERS and len(text.encode()) > schema.MAX_ID_BYTES:
        raise RowError(BAD_ID)
    return text


def _text(value: Any) -> str | None:
    text = (value if type(value) is str else _written(value)).strip(SPACES)
    if len(text) > SHORT_CHARACTERS:
        _check_length(text)
    return text or None


def _check_length(text: str) -> None:
    if len(text) > SHORT_CHARACTERS and len(text.encode()) > rules.MAX_SENT_BYTES:
        raise RowError(TOO_LONG)


def _choice(choices: frozenset[str], value: Any) -> str | None:
    if type(value) is str and value in choices:
        return value
    text = _text(value)
    if text is not None and text not in choices:
        raise RowError(OUT_OF_RANGE)
    return text


def _bool(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    text = _written(value).strip(SPACES).lower()
    if text and text not in BOOLEAN_WORDS:
        raise RowError(WRONG_TYPE)
    return text or None


def _float(low: float, high: float, value: Any) -> Any:
    if type(value) is not float and type(value) is not int:
        text = _numeral(value)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text):
            raise RowError(WRONG_TYPE)
        value = float(text)
    if not low <= value <= high:
        raise RowError(OUT_OF_RANGE)
    return value


def _int(low: float, high: float, value: Any) -> Any:
    if type(value) is float and value.is_integer() and abs(value) < rules.NOT_EXACT:
        value = int(value)
    if type(value) is not int or abs(value) >= _LARGE:
        text = _numeral(value)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            raise RowError(WRONG_TYPE)
        value = int(text.partition(".")[0])
    if not low <= value <= high:
        raise RowError(OUT_OF_RANGE)
    return value


def _numeral(value: Any) -> str | None:
    text = _written(value).strip(SPACES)
    return None if not text or _NOT_A_NUMBER.fullmatch(text) else text


def _attributes(value: Any) -> Any:
    pairs = value
    if type(value) is str:
        text = value.strip(SPACES)
        if not text:
            return None
        _check_length(text)
        try:
            pairs = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise RowError(WRONG_TYPE) from error
        if (
            not duplicate_keys.is_too_deep(pairs)
            and duplicate_keys.may_have_duplicate_keys(text.encode(), pairs)
            and duplicate_keys.rows_with_duplicate_keys(text.encode())
        ):
            raise RowError(KEY_TWICE)
    if not isinstance(pairs, dict):
        raise RowError(WRONG_TYPE, NOT_PLAIN)
    for one in pairs.values():
        kind = type(one)
        if kind in NESTED:
            raise RowError(WRONG_TYPE, NOT_PLAIN)
        if kind is float:
            _check_exact(one)
    if len(pairs) > rules.MAX_PAIRS or len(orjson.dumps(pairs)) > rules.MAX_SENT_BYTES:
        raise RowError(TOO_LONG)
    return pairs


def _time(value: Any) -> Timestamp | None:
    """A time with its offset; a count since 1970 becomes text too, since a part's column must not mix the two."""
    text = (value if type(value) is str else _written(value)).strip(SPACES)
    return parse_timestamp(text) if text else None
