"""Search spaces of hyperparameters by family, for the local search and for the Katib experiment on a cluster."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from lodestar.config import BLEND, CLOSED_FORM_FAMILIES, Recipe, override
from lodestar.errors import ConfigError, UsageError

Value = float | int | str


@dataclass(frozen=True, kw_only=True)
class Range:
    """A numeric range from `low` to `high` (inclusive), uniform or log-uniform; of integers if both bounds are."""

    low: float
    high: float
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A categorical hyperparameter: one of these values."""

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
_LAYERED: Space = {**_SHARED, "model.num_layers": Range(low=1, high=3)}
_ATTENTION: Space = {**_LAYERED, "model.num_heads": Choice(values=(1, 2, 4))}
SPACES: Mapping[str, Space] = {
    **dict.fromkeys(("sasrec", "bert4rec", "hstu"), _ATTENTION),
    **dict.fromkeys(("gru", "lstm"), _LAYERED),
    **dict.fromkeys(("caser", "two_tower", "content"), _SHARED),
}


def space_of(recipe: Recipe, pinned: str) -> Space:
    """The search space of a recipe, without hyperparameters that the overrides `pinned` fix and values that contradict them.

    UsageError if nothing is left to tune, or for a closed-form family or a blend, whose training includes a grid search.
    """
    if recipe.model.family in (*CLOSED_FORM_FAMILIES, BLEND):
        raise UsageError(f"training {recipe.name} includes a grid search of its hyperparameters; there is nothing to tune", code="E195")
    pinned_names = {f"{section}.{field}" for section, fields in json.loads(pinned).items() for field in fields}
    space = {
        name: _valid_values(recipe, name, allowed) for name, allowed in SPACES[recipe.model.family].items() if name not in pinned_names
    }
    if not space:
        raise UsageError(f"the overrides fix all hyperparameters of {recipe.name} that can be tuned", code="E195")
    for name, allowed in space.items():
        if isinstance(allowed, Choice) and not allowed.values:
            raise UsageError(f"no value of {name} is valid with the overrides: override it as well", code="E195")
    return space


def _valid_values(recipe: Recipe, name: str, allowed: Range | Choice) -> Range | Choice:
    """The range, or the choice with only the values that give a valid recipe."""
    if isinstance(allowed, Range):
        return allowed
    return Choice(values=tuple(value for value in allowed.values if _is_valid(recipe, name, value)))


def _is_valid(recipe: Recipe, name: str, value: Value) -> bool:
    try:
        with_values(recipe, {name: value})
    except ConfigError:
        return False
    return True


def overrides(values: Mapping[str, Value], pinned: str = "{}") -> str:
    """Overrides as JSON for `--overrides`, from values by dotted name such as `train.learning_rate`, merged into `pinned`."""
    sections: dict[str, dict[str, Value]] = json.loads(pinned)
    for name, value in values.items():
        section, field = name.split(".")
        sections.setdefault(section, {})[field] = value
    return json.dumps(sections, sort_keys=True)


def with_values(recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
    """The recipe with values by dotted name; ConfigError E180 if it is invalid."""
    return override(recipe, overrides(values))
