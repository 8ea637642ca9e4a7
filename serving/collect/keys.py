"""Find JSON that names a key twice: of two readers of it one sees the first value and one the last, so that nobody takes it."""

import json
from typing import Any

import orjson

MOST_DEPTH = 64
_QUOTE, _QUOTE_BY_NUMBER, _ESCAPE = b'"', b"\\u0022", b"\\"
_NESTED = frozenset((dict, list))


class _Pairs(tuple[tuple[str, Any], ...]):
    """An object as it is written."""


def is_deep(found: Any) -> bool:
    """Whether values lie within each other more than `MOST_DEPTH` levels deep."""
    level = [found] if type(found) in _NESTED else []
    for _ in range(MOST_DEPTH):
        level = [one for value in level for one in (value.values() if type(value) is dict else value) if type(one) in _NESTED]
        if not level:
            return False
    return True


def may_name_twice(text: bytes, found: Any) -> bool:
    """Whether one should look closer at a text, of which `found` was read.

    Of a key that came twice one is left, so what was read, written anew, has fewer quotes than the text, unless some were none in it.
    """
    try:
        anew = orjson.dumps(found)
    except orjson.JSONEncodeError:  # deeper than it writes
        return True
    return text.count(_QUOTE) != anew.count(_QUOTE) or (_ESCAPE in text and _QUOTE_BY_NUMBER in text)


def rows_that_name_twice(text: bytes) -> set[int]:
    """The places of rows in a text of JSON, an array or one of them, that have a key twice, at whatever depth."""
    rows = json.loads(text, object_pairs_hook=_Pairs)
    return {place for place, row in enumerate(rows if type(rows) is list else [rows]) if _is_twice(row)}


def _is_twice(found: Any) -> bool:
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if type(value) is _Pairs:
            if len(dict(value)) < len(value):
                return True
            waiting += [inner for _, inner in value]
        elif type(value) is list:
            waiting += value
    return False
