"""Overrides of a recipe: strict JSON (no duplicate keys, finite numbers only), and fields of a section replaced by it."""

import dataclasses
import json
from typing import Any

from lodestar.errors import ConfigError
from lodestar.schema import constraints
from lodestar.schema.constraints import require

EXAMPLE = """--overrides '{"train": {"epochs": 3}}'"""


def parse_json(text: str) -> Any:
    """Parse the JSON text of overrides; ConfigError E180 for invalid JSON, duplicate keys, or numbers that are not finite."""

    def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        require(len(set(names)) == len(names), "overrides name a field twice", next((name for name in names if names.count(name) > 1), ""))
        return dict(pairs)

    def reject_constant(name: str) -> None:
        require(False, "overrides hold a number that is not finite", name)

    try:
        return json.loads(text, object_pairs_hook=reject_duplicates, parse_constant=reject_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"overrides are not JSON: {error}; write {EXAMPLE}", code=constraints.INVALID_FIELD) from error


def replace_section(recipe: Any, section: str, values: Any) -> Any:
    """The section (a dataclass) of a recipe with fields replaced by JSON values; ConfigError E180 for unknown names or invalid values."""
    sections = [entry.name for entry in dataclasses.fields(recipe) if entry.name != "name"]
    constraints.require_known("a recipe has no section", section, sections)
    current = getattr(recipe, section)
    names = sorted(entry.name for entry in dataclasses.fields(current))
    require(isinstance(values, dict), f"{section} must be an object with any of {', '.join(names)}; got", values)
    for name in values:
        constraints.require_known(f"{section} has no field", name, names)
    try:
        return dataclasses.replace(current, **{name: constraints.from_json(current, name, value) for name, value in values.items()})
    except ConfigError as error:
        raise ConfigError(f"{section}: {error.message}", code=error.code) from error
