"""Constraints of configuration fields and their validation.

A field is `Annotated[int, Bounds(low=1, high=64), "what it means"]`: its type, bounds and description.
"""

import dataclasses
import sys
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from lodestar.errors import ConfigError
from lodestar.process.safe_text import shorten
from lodestar.process.suggestions import unknown_name

MAX_TEXT_LENGTH = 2_048
MAX_WHOLE_NUMBER = 1 << 53  # floats represent whole numbers up to here exactly
INVALID_FIELD = "E180"
TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Interval from `low` to `high`, closed unless `without_low` or `without_high` excludes an end."""

    low: float
    high: float
    without_low: bool = False
    without_high: bool = False

    def contains(self, value: float) -> bool:
        """Whether a value lies within the bounds; False for NaN."""
        is_above = self.low < value if self.without_low else self.low <= value
        return is_above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        return f"{'(' if self.without_low else '['}{self.low}, {self.high}{')' if self.without_high else ']'}"


def check_fields(config: Any) -> None:
    """Validate the fields of a configuration dataclass; raises ConfigError E180 for a wrong type or a value outside its bounds."""
    for name, kind in _kinds(type(config).__module__, type(config).__name__).items():
        _check(name, kind, getattr(config, name))


def require(holds: bool, message: str, value: Any) -> None:
    """Raise ConfigError E180 with the value unless a condition holds."""
    if not holds:
        raise ConfigError(f"{message}: {shorten(repr(value))}", code=INVALID_FIELD)


def require_known(what: str, name: str, names: list[str]) -> None:
    """Raise ConfigError E180, with the nearest name as a suggestion, if a name is not among `names`."""
    if name not in names:
        raise ConfigError(unknown_name(what, name, names), code=INVALID_FIELD)


def from_json(config: Any, name: str, value: Any) -> Any:
    """Convert a JSON value to the type of a configuration field: lists to tuples, whole numbers to floats where declared."""
    if isinstance(value, list):
        return tuple(value)
    kind, *_ = parts_of(_kinds(type(config).__module__, type(config).__name__)[name])
    is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_WHOLE_NUMBER
    return float(value) if kind is float and is_whole else value


def fields_of(section: type) -> dict[str, tuple[Any, tuple[Bounds, ...], str]]:
    """Type, bounds and description of each field of a configuration dataclass, by name and in order."""
    return {name: parts_of(kind) for name, kind in _kinds(section.__module__, section.__name__).items()}


def parts_of(kind: Any) -> tuple[Any, tuple[Bounds, ...], str]:
    """Type, bounds and description of a field's annotation; no bounds and "" for a plain type."""
    if get_origin(kind) is not Annotated:
        return kind, (), ""
    plain, *rest = get_args(kind)
    return plain, tuple(part for part in rest if isinstance(part, Bounds)), "".join(part for part in rest if isinstance(part, str))


@cache
def _kinds(module: str, name: str) -> dict[str, Any]:
    config = getattr(sys.modules[module], name)
    hints = get_type_hints(config, include_extras=True)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(config)}


def _check(name: str, kind: Any, value: Any) -> None:
    kind, bounds, _ = parts_of(kind)
    if get_origin(kind) is tuple:
        require(isinstance(value, tuple), f"{name} takes a list, and not", value)
        for entry in value:
            # pyrefly: ignore[invalid-annotation]
            _check(f"each of {name}", Annotated[get_args(kind)[0], *bounds] if bounds else get_args(kind)[0], entry)
        return
    choices = _choices(kind)
    if choices:
        require(isinstance(value, str) and value in choices, f"{name} must be one of {', '.join(choices)}", value)
        return
    allowed = (int, float) if kind is float else (kind,)
    require(isinstance(value, allowed) and isinstance(value, bool) == (kind is bool), f"{name} takes {TYPE_NAMES[kind]}, and not", value)
    if isinstance(value, str):
        require(
            len(value) <= MAX_TEXT_LENGTH and value.isprintable(), f"{name} takes up to {MAX_TEXT_LENGTH:,} printable characters", value
        )
    for interval in bounds:
        require(interval.contains(value), f"{name} must lie in {interval}", value)


def _choices(kind: Any) -> tuple[str, ...]:
    """Allowed values of a Literal type or a union of Literals; empty for other types."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(choice for part in get_args(kind) for choice in _choices(part))
