"""Find JSON objects that name a key twice, and nesting that is too deep.

Of two readers of a duplicate key one sees the first value and one the last, so such rows are refused.
"""

import json
from typing import Any

import orjson

MAX_DEPTH = 64
_QUOTE, _QUOTE_BY_NUMBER, _ESCAPE = b'"', b"\\u0022", b"\\"
NESTED = frozenset((dict, list))


class _Pairs(tuple[tuple[str, Any], ...]):
    """The key-value pairs of an object in their written order, duplicates included."""


def is_too_deep(root: Any) -> bool:
    """Whether lists and objects are nested more than `MAX_DEPTH` levels deep."""
    level = [root] if type(root) in NESTED else []
    for _ in range(MAX_DEPTH):
        level = [one for value in level for one in (value.values() if type(value) is dict else value) if type(one) in NESTED]
        if not level:
            return False
    return True


def may_have_duplicate_keys(text: bytes, value: Any) -> bool:
    """Whether a JSON text may name a key twice, given its decoded value; cheap, with false positives and no false negatives.

    Decoding keeps one of two equal keys, so the value, encoded again, has fewer quotes than the text, unless quotes are escaped.
    """
    try:
        encoded = orjson.dumps(value)
    except orjson.JSONEncodeError:  # deeper than it writes
        return True
    return text.count(_QUOTE) != encoded.count(_QUOTE) or (_ESCAPE in text and _QUOTE_BY_NUMBER in text)


def rows_with_duplicate_keys(text: bytes) -> set[int]:
    """Indices of the rows of a JSON text, an array or a single row, that name a key twice at any depth."""
    rows = json.loads(text, object_pairs_hook=_Pairs)
    return {index for index, row in enumerate(rows if type(rows) is list else [rows]) if _has_duplicate(row)}


def _has_duplicate(root: Any) -> bool:
    stack = [root]
    while stack:
        value = stack.pop()
        if type(value) is _Pairs:
            if len(dict(value)) < len(value):
                return True
            stack += [inner for _, inner in value]
        elif type(value) is list:
            stack += value
    return False
