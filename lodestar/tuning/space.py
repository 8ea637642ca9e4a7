"""What may be tuned, once: the search here and the experiment on a cluster are made from the same ranges."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from lodestar.config import BLEND, COUNTED_FAMILIES, Recipe, override
from lodestar.errors import ConfigError, UsageError

Value = float | int | str


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, evenly or on a logarithmic scale; whole ones where both are."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]


Space = Mapping[str, Range | Choice]
_SHARED: Space = {
    "train.learning_rate": Range(low=5e-4, high=1e-2, log=True),
    "train.label_smoothing": Range(low=0.0, high=0.3),
    "train.order_jitter": Range(low=0.0, high=4.0),
    "train.weight_decay": Range(low=1e-4, high=0.3, log=True),
    "train.batch_tokens": Choice(values=(1024, 2048, 4096, 8192)),
    "model.dropout": Range(low=0.1, high=0.6),
    "model.dim": Choice(values=(32, 64, 128)),
}
_LAYERED: Space = {**_SHARED, "model.layers": Range(low=1, high=3)}
_ATTENTION: Space = {**_LAYERED, "model.heads": Choice(values=(1, 2, 4))}
SPACES: Mapping[str, Space] = {
    **dict.fromkeys(("sasrec", "bert4rec", "hstu"), _ATTENTION),
    **dict.fromkeys(("gru", "lstm"), _LAYERED),
    **dict.fromkeys(("caser", "two_tower", "content"), _SHARED),
}


def space_of(recipe: Recipe, fixed: str) -> Space:
    """What is tuned of a recipe, but for what the overrides `fixed` name and what does not go with that; UsageError where nothing is left.

    A family without a training loop tries its settings by itself.
    """
    if recipe.model.family in (*COUNTED_FAMILIES, BLEND):
        raise UsageError(f"{recipe.name} tries its settings on the validation items whenever it is trained; there is nothing to tune")
    named = {f"{section}.{field}" for section, fields in json.loads(fixed).items() for field in fields}
    space = {name: _fitting(recipe, name, allowed) for name, allowed in SPACES[recipe.model.family].items() if name not in named}
    if not space:
        raise UsageError(f"the overrides fix all that can be tuned of {recipe.name}")
    for name, allowed in space.items():
        if isinstance(allowed, Choice) and not allowed.values:
            raise UsageError(f"no value of {name} goes with the overrides: fix it as well")
    return space


def _fitting(recipe: Recipe, name: str, allowed: Range | Choice) -> Range | Choice:
    """Of the values of a choice those that make a recipe."""
    if isinstance(allowed, Range):
        return allowed
    return Choice(values=tuple(value for value in allowed.values if _is_recipe(recipe, name, value)))


def _is_recipe(recipe: Recipe, name: str, value: Value) -> bool:
    try:
        with_values(recipe, {name: value})
    except ConfigError:
        return False
    return True


def overrides(values: Mapping[str, Value], fixed: str = "{}") -> str:
    """The JSON that `--overrides` takes, from names such as `train.learning_rate` and from what is fixed."""
    sections: dict[str, dict[str, Value]] = json.loads(fixed)
    for name, value in values.items():
        section, field = name.split(".")
        sections.setdefault(section, {})[field] = value
    return json.dumps(sections, sort_keys=True)


def with_values(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    return override(recipe, overrides(values))
