"""Training record of a bundle, `training` in bundle.json: what the model was fitted on, and the recipe's fields that decide what it is.

A recipe says what is to be done; the record says what was. It is empty in bundles from before there was one.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

from lodestar.config import Recipe
from lodestar.errors import UsageError
from lodestar.process.safe_text import shorten

FittedOn = Literal["train", "before_test"]
FITTED_ON, RECIPE, DATA = "fitted_on", "recipe", "data"
SECTIONS = ("model", "train", "rank", "rate")
# Another place or number of processes makes no other model, and an address may be a private one.
LEFT_OUT = {"train": ("device", "workers", "warm_start", "item_init")}


def training_record(recipe: Recipe, fitted_on: FittedOn) -> dict[str, Any]:
    """The record of a model that was fitted on the training set, or on all items before the test set (training and validation)."""
    return {FITTED_ON: fitted_on, RECIPE: _recorded(recipe)}


def is_record(value: Any) -> bool:
    """Whether a JSON value is a training record, or empty."""
    if value == {}:
        return True
    if not isinstance(value, dict) or value.keys() != {FITTED_ON, RECIPE} or value[FITTED_ON] not in get_args(FittedOn):
        return False
    return isinstance(value[RECIPE], dict) and all(isinstance(fields, dict) for fields in value[RECIPE].values())


def knows_validation(record: Mapping[str, Any], recipe: Recipe) -> bool:
    """Whether the model was also fitted on the validation set; without a record, what the recipe says."""
    return record[FITTED_ON] == "before_test" if record else recipe.knows_validation


def recorded_split(info: bytes) -> str:
    """The split in the record of a bundle.json's content, unverified; empty if there is none."""
    try:
        split = json.loads(info)["training"][RECIPE][DATA]["split"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return split if isinstance(split, str) else ""


def refuse_other_recipe(root: Path, name: str, record: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise UsageError E192 if the bundle at `root`, of the recipe `name`, was trained with another recipe or split; a record is needed."""
    if not record:
        return
    differences = [
        *([f"recipe {name}, not {recipe.name}"] if name != recipe.name else []),
        *_differences(record[RECIPE], _recorded(recipe)),
    ]
    if differences:
        message = f"{root} was trained with {shorten('; '.join(differences), 300)}: give the recipe and overrides that it was trained with"
        raise UsageError(message, code="E192")


def _recorded(recipe: Recipe) -> dict[str, Any]:
    sections = {section: asdict(getattr(recipe, section)) for section in SECTIONS}
    for section, names in LEFT_OUT.items():
        for name in names:
            del sections[section][name]
    found: dict[str, Any] = json.loads(json.dumps({DATA: recipe.data.split_fields, **sections}))
    return found


def _differences(recorded: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Fields that both name and that differ; a version with other fields tells nothing of those."""
    for section, fields in wanted.items():
        for name, value in fields.items():
            had = recorded.get(section, {}).get(name, value)
            if had != value:
                yield f"{section}.{name} {had}, not {value}"
