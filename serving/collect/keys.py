"""Find JSON that names a key twice: of two readers of it one sees the first value and one the last, so that nobody takes it."""

import json
from typing import Any

MOST_DEPTH = 64
_SPACES_BEFORE = tuple(space + b":" for space in (b" ", b"\t", b"\n", b"\r"))
_NESTED = frozenset((dict, list))


class _Pairs(tuple[tuple[str, Any], ...]):
    """An object as it is written."""


def is_deep(found: Any) -> bool:
    """Whether values lie within each other more than `MOST_DEPTH` levels deep."""
    return _num_keys(found) is None


def may_name_twice(text: bytes, found: Any) -> bool:
    """Whether one should look closer at a text, of which `found` was read and is not deep.

    Each key that was read stands before a quote and a colon, whose number is soon known. Where there are no more of these than keys, none
    came twice; within a text there may be others.
    """
    return text.count(b'":') != _num_keys(found) or any(space in text for space in _SPACES_BEFORE)


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


def _num_keys(found: Any) -> int | None:
    """Keys of all objects, None where these are too deep to say."""
    count, level = 0, [found] if type(found) in _NESTED else []
    for _ in range(MOST_DEPTH):
        inner: list[Any] = []
        for value in level:
            count += len(value) if type(value) is dict else 0
            inner += [one for one in (value.values() if type(value) is dict else value) if type(one) in _NESTED]
        if not inner:
            return count
        level = inner
    return None
