"""Page of the recipes: what each is, its measured metrics, and every value in which it differs from the defaults."""

import dataclasses
import json
from typing import Any

from docs.generate.markdown import code, paragraph, sentence, table
from lodestar.config import Recipe
from lodestar.recipes import LARGER_MODEL, LARGER_TRAIN, MEASURED, RECIPES, SIZED_RECIPES, SIZES

INTRODUCTION = """Every recipe of `lodestar run --recipe NAME`, a complete configuration of a run. [models.md](../models.md) says how
the models work, and [configuration.md](configuration.md) what each field means and its default."""
MEASURED_ON = """HR@10 and NDCG@10 are of MovieLens-100K, leave-one-out, with all items ranked: [models.md](../models.md#recipes) has the
protocol."""
BASE = "sasrec"  # which others vary


def page() -> str:
    """The page as Markdown."""
    rows = [(code(name), sentence(make.__doc__ or ""), *_metrics(name)) for name, make in RECIPES.items()]
    listed = table(("recipe", "method", "HR@10", "NDCG@10"), rows)
    return "\n".join([f"# Recipes\n\n{paragraph(INTRODUCTION)}\n{paragraph(MEASURED_ON)}\n{listed}", _differences(), _sizes()])


def _metrics(name: str) -> tuple[str, str]:
    found = MEASURED.get(name)
    return (f"{found[0]:.4f}", f"{found[1]:.4f}") if found else ("", "")


def _differences() -> str:
    told = "A recipe has the values of the one beside it, or the defaults of the configuration, but for these."
    rows = [(code(name), *_closest(make())) for name, make in RECIPES.items()]
    return f"## Values\n\n{paragraph(told)}\n{table(('recipe', 'like', 'but for'), rows)}"


def _closest(recipe: Recipe) -> tuple[str, str]:
    """Which of the defaults and BASE has fewer other values than a recipe, and the recipe's values there."""
    found = {"the defaults": _changes(recipe, Recipe(name=recipe.name))}
    if recipe.name != BASE:
        found[code(BASE)] = _changes(recipe, RECIPES[BASE]())
    name = min(found, key=lambda name: len(found[name]))
    return name, ", ".join(code(f"{field} = {value}") for field, value in found[name].items()) or "nothing"


def _changes(recipe: Recipe, base: Recipe) -> dict[str, str]:
    """Values of a recipe that another has not, as JSON by section and field."""
    others = _flat(base)
    return {field: json.dumps(value) for field, value in _flat(recipe).items() if value != others[field]}


def _flat(recipe: Recipe) -> dict[str, Any]:
    sections: dict[str, Any] = {name: values for name, values in dataclasses.asdict(recipe).items() if name != "name"}
    return {f"{section}.{field}": value for section, values in sections.items() for field, value in values.items()}


def _sizes() -> str:
    told = f"{code(*SIZED_RECIPES)} have larger sizes, for a million events and a GPU. {_values('model', LARGER_MODEL)} and "
    told += f"{_values('train', LARGER_TRAIN)} hold for both."
    rows = [(code(f"NAME-{size}"), _values("model", values)) for size, values in SIZES.items()]
    return f"## Larger sizes\n\n{paragraph(told)}\n{table(('size', 'values'), rows)}"


def _values(section: str, values: dict[str, Any]) -> str:
    return ", ".join(code(f"{section}.{field} = {json.dumps(value)}") for field, value in values.items())
