"""One row of the contract, judged as it comes in: what is taken here is what `lodestar data ingest` takes, by the same codes.

The batch judges whole columns of text by SQL, which costs nothing per row of millions and far too much for a request of one; so
`lodestar.data.rules` says once what a value must be, functions are made of it here and SQL there, and a test holds the two to the same
verdicts. Stricter here is only that no value is nested but `attrs`, by one level, and that a text is no number beyond 64 bits: the
batch reads the digits of whole numbers as they stand.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from math import inf
from typing import Any, NamedTuple

import orjson

from lodestar import schema
from lodestar.data import offences, rules
from lodestar.errors import Place
from serving.collect import keys
from serving.collect.moments import Time, moment
from serving.collect.row_error import BAD_ID, IN_FUTURE, KEY_TWICE, OUT_OF_RANGE, TOO_LONG, UNKNOWN_TYPE, WRONG_TYPE, RowError

MOST_BYTES_EACH = 4  # of a character in UTF-8
LATEST_AFTER = timedelta(microseconds=rules.LATEST_AFTER_US)
SHOWN_CHARACTERS = 64
SHORT_ID_CHARACTERS = schema.MAX_ID_BYTES // MOST_BYTES_EACH
SHORT_CHARACTERS = rules.MOST_SENT_BYTES // MOST_BYTES_EACH  # as many are never too long

NOT_AN_ID = frozenset(rules.NOT_AN_ID)
TRUTHS = frozenset((*rules.TRUE, *rules.FALSE))
# What DuckDB's trim takes away: Unicode's space separators, and neither tabs nor ends of lines.
SPACES = "".join(chr(code) for code in range(0x3001) if unicodedata.category(chr(code)) == "Zs")
_NUMBER, _WHOLE, _NOT_A_NUMBER = (re.compile(pattern, re.ASCII) for pattern in (rules.NUMBER, rules.WHOLE, rules.NOT_A_NUMBER))
_LARGE = 10**18
_NESTED = frozenset((dict, list))
NO_NAMES: frozenset[str] = frozenset()

Convert = Callable[[Any], Any]


class Fault(NamedTuple):
    """Why a row is not taken; `field` is the column, empty where it is the row."""

    code: str
    field: str
    message: str


class Judge:
    """Turns rows of one table, events or impressions, into rows for the landing."""

    def __init__(self, table: schema.Table) -> None:
        self.table = table
        self._columns = tuple(
            (column.name, _conversion(column), _if_missing(column)) for column in table.columns if column.name != schema.INGESTED_AT
        )
        self._convert = {name: convert for name, convert, _ in self._columns}
        self._required = frozenset(name for name, _, missing in self._columns if missing)
        self._names = frozenset(table.names)
        self._moment = schema.EVENT_TIME if table is schema.EVENTS else schema.SHOWN_AT
        self._needs = {str(kind): tuple(need for need in rules.NEEDS if kind in need.types) for kind in schema.EventType}

    def row(self, given: Any, latest: datetime, said_at: str) -> dict[str, Any] | Fault:
        """What to write, with the columns of the contract and `said_at` as ingested_at, or why not; after `latest` is the future."""
        if not isinstance(given, dict):
            return Fault(WRONG_TYPE, "", "a row is a JSON object")
        try:
            kept = self._kept(given)
            kept[self._moment], when = kept[self._moment]
            if when > latest:
                raise RowError(IN_FUTURE, field=self._moment)  # noqa: TRY301  # a call for each row is what this saves
            self._check_across(kept)
        except RowError as offence:
            return self._fault(offence, offence.field, given)
        kept[schema.INGESTED_AT] = said_at
        # A reader of the part asks for these columns, even where no row of it has a value.
        kept.setdefault(schema.USER_ID, None)
        kept.setdefault(schema.ITEM_ID, None)
        return kept

    def _kept(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that a row has, as they are written: in the row's order, which is quicker, and where one is bad in the contract's."""
        kept: dict[str, Any] = {}
        try:
            for name, value in given.items():
                if value is not None and (convert := self._convert.get(name)) is not None and (written := convert(value)) is not None:
                    kept[name] = written
        except RowError:
            return self._kept_in_order(given)
        return kept if self._required <= kept.keys() else self._kept_in_order(given)

    def _kept_in_order(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """RowError of the first column that is bad or missing."""
        kept: dict[str, Any] = {}
        for name, convert, missing in self._columns:
            value = given.get(name)
            try:
                written = None if value is None else convert(value)
            except RowError as offence:
                raise RowError(offence.code, offence.message, name) from offence
            if written is not None:
                kept[name] = written
            elif missing:
                raise RowError(missing, field=name)
        return kept

    def ignored(self, given: Mapping[str, Any]) -> frozenset[str]:
        """Fields that are not of the contract."""
        return NO_NAMES if self._names.issuperset(given) else frozenset(given) - self._names

    def _check_across(self, row: Mapping[str, Any]) -> None:
        """What more than one column decides, in the batch's order."""
        if schema.USER_ID not in row and schema.SESSION_ID not in row:
            raise RowError(BAD_ID, field=schema.USER_ID)
        if self.table is schema.EVENTS:
            needs = self._needs.get(row[schema.EVENT_TYPE])
            if needs is None:
                raise RowError(UNKNOWN_TYPE, field=schema.EVENT_TYPE)
            for need in needs:
                if need.column not in row:
                    raise RowError(need.code, field=need.column)

    def _fault(self, offence: RowError, field: str, given: Mapping[str, Any]) -> Fault:
        if offence.message:
            return Fault(offence.code, field, offence.message)
        value = given.get(field)
        text = "" if value is None or type(value) in _NESTED else str(value)
        place = Place(file="", column=field, value=text if offence.code == BAD_ID else text[:SHOWN_CHARACTERS])
        return Fault(offence.code, field, offences.bad_row(offence.code, self.table, place).message)


def _if_missing(column: schema.Column) -> str:
    """The code of a row without the column, empty where that is no fault; whether a session stands for the user is seen later."""
    if not column.required or column.name == schema.USER_ID:
        return ""
    return BAD_ID if column.kind is schema.Kind.ID else WRONG_TYPE


def _conversion(column: schema.Column) -> Convert:
    """From a value that is there to what is written: None where it says nothing, RowError where it is bad."""
    if column.kind is schema.Kind.TEXT and column.choices:
        return partial(_choice, frozenset(column.choices))
    if column.kind in {schema.Kind.FLOAT, schema.Kind.INT}:
        low, high = -inf if column.low is None else column.low, inf if column.high is None else column.high
        return partial(_float if column.kind is schema.Kind.FLOAT else _int, low, high)
    plain: dict[schema.Kind, Convert] = {
        schema.Kind.ID: _id,
        schema.Kind.TEXT: _text,
        schema.Kind.TIME: _time,
        schema.Kind.BOOL: _bool,
        schema.Kind.PAIRS: _pairs,
    }
    return plain[column.kind]


def _written(value: Any) -> str:
    """A plain value as a file has it."""
    if isinstance(value, str):
        return value
    if type(value) in _NESTED:
        raise RowError(WRONG_TYPE)
    _check_exact(value)
    return orjson.dumps(value).decode()


def _check_exact(value: Any) -> None:
    """Of numbers as large as that one stands for many that were sent, and two ids would be one."""
    if type(value) is float and abs(value) >= rules.NOT_EXACT:
        raise RowError(
            WRONG_TYPE, "a number of more than 64 bits, or with a point and 2^52 or more, is not kept as it is: send it as a text"
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
    if len(text) > SHORT_CHARACTERS and len(text.encode()) > rules.MOST_SENT_BYTES:
        raise RowError(TOO_LONG)


def _choice(choices: frozenset[str], value: Any) -> str | None:
    text = _text(value)
    if text is not None and text not in choices:
        raise RowError(OUT_OF_RANGE)
    return text


def _bool(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    text = _written(value).strip(SPACES).lower()
    if text and text not in TRUTHS:
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
    if not low <= value <= high or abs(value) >= rules.NOT_EXACT:
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


def _pairs(value: Any) -> Any:
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
        if not keys.is_deep(pairs) and keys.may_name_twice(text.encode(), pairs) and keys.rows_that_name_twice(text.encode()):
            raise RowError(KEY_TWICE)
    if not isinstance(pairs, dict) or not _NESTED.isdisjoint(map(type, pairs.values())):
        raise RowError(WRONG_TYPE, "attrs is an object of plain values")
    for one in pairs.values():
        if type(one) is float:
            _check_exact(one)
    if len(pairs) > rules.MOST_PAIRS or len(orjson.dumps(pairs)) > rules.MOST_SENT_BYTES:
        raise RowError(TOO_LONG)
    return pairs


def _time(value: Any) -> Time | None:
    """A moment with its offset; a count from 1970 becomes text too, since a part's column must not mix the two."""
    text = (value if type(value) is str else _written(value)).strip(SPACES)
    return moment(text) if text else None
