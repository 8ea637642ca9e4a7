"""Page of the configuration: every field of a recipe with its type, range, default and meaning."""

import dataclasses
import json
from typing import Any, Literal, get_args, get_origin

from docs.generate.markdown import code, paragraph, sentence, table
from lodestar.config import Recipe
from lodestar.schema.constraints import Bounds, fields_of

INTRODUCTION = """Every field of a recipe. `lodestar run --recipe NAME --overrides '{"train": {"epochs": 50}}'` replaces values by
section and field, and so do `overrides` of a pipeline run; what a recipe itself replaces is in [recipes.md](recipes.md). A value of another
type or outside its range, an unknown name, and fields that contradict each other are E180, before anything runs."""
RANGES = """`[a, b]` includes both ends, `(a, b)` neither. Addresses of stores, passwords and ports are no configuration of a run: they are
options and environment variables of the commands in [commands.md](commands.md)."""
TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text"}


def page() -> str:
    """The page as Markdown."""
    sections = [entry for entry in dataclasses.fields(Recipe) if entry.name != "name"]
    parts = [f"# Configuration\n\n{paragraph(INTRODUCTION)}\n{paragraph(RANGES)}"]
    return "\n".join([*parts, *(_section(entry.name, entry.default_factory) for entry in sections)])  # type: ignore[arg-type]


def _section(name: str, section: type[Any]) -> str:
    defaults = dataclasses.asdict(section())
    rows = [
        (code(field), _type(kind), _range(kind, bounds), code(json.dumps(defaults[field])), sentence(description))
        for field, (kind, bounds, description) in fields_of(section).items()
    ]
    described = "\n".join(map(paragraph, (section.__doc__ or "").split("\n\n")))
    return f"## {name}\n\n{described}\n{table(('field', 'type', 'range', 'default', 'meaning'), rows)}"


def _type(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"list of {TYPES[get_args(kind)[0]]}s"
    return TYPES.get(kind, "choice")


def _range(kind: Any, bounds: tuple[Bounds, ...]) -> str:
    choices = _choices(kind)
    return code(*choices) if choices else ", ".join(_interval(interval) for interval in bounds)


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    return tuple(choice for part in get_args(kind) for choice in _choices(part))


def _interval(bounds: Bounds) -> str:
    low, high = "(" if bounds.without_low else "[", ")" if bounds.without_high else "]"
    return f"{low}{bounds.low:,}, {bounds.high:,}{high}"
