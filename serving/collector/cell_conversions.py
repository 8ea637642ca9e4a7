"""Conversions of sent values to what a part holds: the collector's form of the rules for columns."""

import re
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import orjson

from lodestar import schema
from lodestar.data.contract import rules
from lodestar.data.contract.rules import BAD_ID, KEY_TWICE, NULL_TEXT, OUT_OF_RANGE, TOO_LONG, WRONG_TYPE, ColumnRule
from lodestar.schema import ids
from lodestar.schema.ids import MAX_UTF8_BYTES_PER_CHARACTER, NULLS, SPACES
from serving.collector import duplicate_keys
from serving.collector.duplicate_keys import NESTED
from serving.collector.row_error import RowError
from serving.collector.timestamps import Timestamp, parse_timestamp

SHORT_CHARACTERS = rules.MAX_SENT_BYTES // MAX_UTF8_BYTES_PER_CHARACTER  # texts up to here need no count of bytes

BOOLEAN_WORDS = frozenset((*rules.TRUE, *rules.FALSE))
_NUMBER, _WHOLE, _NOT_A_NUMBER = (re.compile(pattern, re.ASCII) for pattern in (rules.NUMBER, rules.WHOLE, rules.NOT_A_NUMBER))
_LARGE = 10**18
NOT_PLAIN = "attrs is an object of plain values"

Convert = Callable[[Any], Any]


def conversion(rule: ColumnRule) -> Convert:
    """The conversion of a column's values: to what is written, None for an empty value, RowError for an invalid one.

    A text that stands for null is E114.
    """
    if rule.kind is schema.Kind.TEXT and rule.is_id:
        return _reference
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
    if text in NULLS or "." in text or text[:1] in SPACES or text[-1:] in SPACES:  # else it has its normal form
        text = ids.normalise(_plain(text))
        if ids.is_shortened(text):
            raise RowError(WRONG_TYPE)
    if len(text) > ids.SHORT_CHARACTERS and ids.is_too_long(text):  # a call costs more than all that a short id needs
        raise RowError(BAD_ID)
    return text or None


def _plain(text: str) -> str:
    """The text without spaces around it; RowError E114 if it stands for null."""
    plain = text.strip(SPACES)
    if plain in NULLS:
        raise RowError(NULL_TEXT)
    return plain


def _text(value: Any) -> str | None:
    text = _plain(value if type(value) is str else _written(value))
    if len(text) > SHORT_CHARACTERS:
        _check_length(text)
    return text or None


def _reference(value: Any) -> str | None:
    text = _text(value)
    return None if text is None else ids.normalise(text)


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
    text = _plain(_written(value)).lower()
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
    text = _plain(_written(value))
    return None if not text or _NOT_A_NUMBER.fullmatch(text) else text


def _attributes(value: Any) -> Any:
    pairs = value
    if type(value) is str:
        text = _plain(value)
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
    text = _plain(value if type(value) is str else _written(value))
    return parse_timestamp(text) if text else None
