"""Overrides of a recipe: strict JSON (no duplicate keys, finite numbers only), and fields of a section replaced by it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from lodestar.errors import ConfigError
from lodestar.schema import constraints
from lodestar.schema.constraints import require

EXAMPLE = """--overrides '{"train": {"epochs": 3}}'"""


def parse_overrides(overrides: str | Mapping[str, Any]) -> dict[str, Any]:
    """Parse overrides: the text of a JSON object (empty: no overrides), or a mapping as Kubeflow Pipelines passes it to a step.

    ConfigError E180 for anything else, duplicate keys, or numbers that are not finite.
    """

    def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        require(len(set(names)) == len(names), "overrides name a field twice", next((name for name in names if names.count(name) > 1), ""))
        return dict(pairs)

    def reject_constant(name: str) -> None:
        require(False, "overrides hold a number that is not finite", name)

    try:
        text = overrides_text(overrides) or "{}"
        sections = json.loads(text, object_pairs_hook=reject_duplicates, parse_constant=reject_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"overrides are not JSON: {error}; write {EXAMPLE}", code=constraints.INVALID_FIELD) from error
    require(isinstance(sections, dict), "overrides must be a JSON object", sections)
    return dict(sections)


def overrides_text(overrides: str | Mapping[str, Any]) -> str:
    """Overrides as JSON text, with integral floats written as integers: Kubeflow Pipelines passes all numbers as floats."""
    return overrides if isinstance(overrides, str) else json.dumps(_integral_floats_to_int(overrides), sort_keys=True)


def _integral_floats_to_int(value: Any) -> Any:
    """Replace integral floats by integers (3.0 by 3), at any depth."""
    if isinstance(value, Mapping):
        return {key: _integral_floats_to_int(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_integral_floats_to_int(entry) for entry in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def replace_section(recipe: Any, section: str, values: Any) -> Any:
    """The section (a dataclass) of a recipe with fields replaced by JSON values; ConfigError E180 for unknown names or invalid values."""
    sections = [entry.name for entry in dataclasses.fields(recipe) if entry.name != "name"]
    constraints.require_known("a recipe has no section", section, sections)
    current = getattr(recipe, section)
    names = sorted(entry.name for entry in dataclasses.fields(current))
    require(isinstance(values, dict), f"{section} takes an object of its fields, as in {EXAMPLE}, and not", values)
    for name in values:
        constraints.require_known(f"{section} has no field", name, names)
    try:
        return dataclasses.replace(current, **{name: constraints.from_json(current, name, value) for name, value in values.items()})
    except ConfigError as error:
        raise ConfigError(f"{section}: {error.message}", code=error.code) from error
