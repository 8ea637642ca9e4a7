"""A declaration as text: TOML with a comment per line, dotted keys alone, so that a line of a message may be added anywhere."""

import json
import re
from collections.abc import Mapping, Sequence
from textwrap import wrap

from lodestar.process.safe_text import one_line

WIDTH = 110
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def key_text(key: str) -> str:
    """A key, in quotes where it has other characters than letters, digits, dashes and underscores."""
    return key if _BARE.fullmatch(key) else _string(key)


def value_text(value: object) -> str:
    """A value on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key_text(str(key))} = {value_text(one)}" for key, one in value.items()) + " }" if value else "{}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(value_text, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no form in a declaration")


def _string(text: str) -> str:
    """A basic string: JSON's, with the controls that JSON leaves as they are, and without lone surrogates, which TOML does not have."""
    written = json.dumps(text, ensure_ascii=False)
    return re.sub(
        "[\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}" if ord(found[0]) < 0xD800 else "?", written
    )


def line_text(path: str, value: object) -> str:
    """`path = value`, of a dotted path each part as a key."""
    return f"{'.'.join(map(key_text, path.split('.')))} = {value_text(value)}"


def comment(text: str) -> list[str]:
    """A text as lines of comment."""
    return [f"# {line}" for line in wrap(one_line(text), WIDTH, break_long_words=False, break_on_hyphens=False)] or ["#"]


def with_reason(line: str, reason: str) -> str:
    """A line with its reason behind it."""
    return f"{line}  # {one_line(reason)}" if reason else line
