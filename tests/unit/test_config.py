"""A run is a complete value: overrides replace, unknown names and wrong types are refused."""

import pytest

from lodestar.config import override
from lodestar.errors import ConfigError
from lodestar.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_carries_its_own_name(name: str) -> None:
    assert recipe(name).name == name


def test_an_override_replaces_only_what_it_names() -> None:
    changed = override(recipe("tiny"), '{"train": {"epochs": 7}}')
    assert changed.train.epochs == 7
    assert changed.model == recipe("tiny").model


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '{"tran": {}}',
        '{"train": {"epoch": 1}}',
        '{"train": {"epochs": "7"}}',
        '{"train": {"epochs": 0}}',
        '{"evaluation": {"cutoffs": [0]}}',
        '{"evaluation": {"cutoffs": ["5"]}}',
        '{"evaluation": {"bootstrap_samples": 0}}',
    ],
)
def test_a_bad_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        override(recipe("tiny"), text)


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean sasrec"):
        recipe("sasrek")
