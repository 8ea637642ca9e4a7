"""Fields of a configuration: the values that each may take stand beside it, as `Annotated[int, Between(low=1, high=64)]`."""

import dataclasses
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from lodestar.errors import ConfigError, shorten

LONGEST_TEXT = 2_048
LARGEST_WHOLE = 1 << 53  # that a float holds exactly
WRONG = "E180"


@dataclass(frozen=True, kw_only=True)
class Between:
    """From `low` to `high`; either end itself may be left out."""

    low: float
    high: float
    without_low: bool = False
    without_high: bool = False

    def holds(self, value: float) -> bool:
        is_above = self.low < value if self.without_low else self.low <= value
        return is_above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        return f"{'(' if self.without_low else '['}{self.low}, {self.high}{')' if self.without_high else ']'}"


def check(config: Any) -> None:
    """ConfigError E180 where a field of a dataclass holds another type than it is declared with, or a value outside its bounds."""
    for name, kind in _kinds(type(config).__module__, type(config).__name__).items():
        _check(name, kind, getattr(config, name))


def require(holds: bool, message: str, value: Any) -> None:
    """ConfigError E180 with the value where something does not hold."""
    if not holds:
        raise ConfigError(f"{WRONG} {message}: {shorten(repr(value))}")


def require_known(what: str, name: str, names: list[str]) -> None:
    """ConfigError E180 that suggests the nearest where a name is none of what there is."""
    if name not in names:
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"{WRONG} {what} {shorten(name)!r}; {hint}There are: {', '.join(names)}")


def converted(config: Any, name: str, value: Any) -> Any:
    """A value as it is read from JSON in the form that a field of a dataclass holds: lists are tuples, whole numbers may be floats."""
    if isinstance(value, list):
        return tuple(value)
    kind = _kinds(type(config).__module__, type(config).__name__)[name]
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_WHOLE
    return float(value) if kind is float and is_whole else value


@cache
def _kinds(module: str, name: str) -> dict[str, Any]:
    config = getattr(sys.modules[module], name)
    hints = get_type_hints(config, include_extras=True)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(config)}


def _check(name: str, kind: Any, value: Any) -> None:
    bounds: tuple[Any, ...] = ()
    if get_origin(kind) is Annotated:
        kind, *rest = get_args(kind)
        bounds = tuple(rest)
    if get_origin(kind) is tuple:
        require(isinstance(value, tuple), f"{name} takes a list, got", value)
        for entry in value:
            _check(f"each of {name}", Annotated[get_args(kind)[0], *bounds] if bounds else get_args(kind)[0], entry)
        return
    choices = _choices(kind)
    if choices:
        require(isinstance(value, str) and value in choices, f"{name} must be one of {', '.join(choices)}", value)
        return
    allowed = (int, float) if kind is float else (kind,)
    require(isinstance(value, allowed) and isinstance(value, bool) == (kind is bool), f"{name} takes {kind.__name__}, got", value)
    if isinstance(value, str):
        require(len(value) <= LONGEST_TEXT and value.isprintable(), f"{name} takes up to {LONGEST_TEXT:,} printable characters", value)
    for interval in bounds:
        require(interval.holds(value), f"{name} must lie in {interval}", value)


def _choices(kind: Any) -> tuple[str, ...]:
    """Of a Literal, or a union of them."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(choice for part in get_args(kind) for choice in _choices(part))
