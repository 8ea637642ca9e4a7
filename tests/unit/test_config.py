"""A run is a complete value: overrides replace, unknown names and wrong types are refused."""

import pytest

from lodestar.config import override, to_json
from lodestar.errors import ConfigError
from lodestar.recipes import RECIPES, get_recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_carries_its_own_name(name: str) -> None:
    assert get_recipe(name).name == name


def test_an_override_replaces_only_what_it_names() -> None:
    changed = override(get_recipe("tiny"), '{"train": {"epochs": 7}}')
    assert changed.train.epochs == 7
    assert changed.model == get_recipe("tiny").model


BAD = {
    "no JSON": "{",
    "a list": "[1]",
    "nothing": "null",
    "an unknown section": '{"tran": {}}',
    "an unknown field": '{"train": {"epoch": 1}}',
    "a section that is none": '{"train": null}',
    "a text for a number": '{"train": {"epochs": "7"}}',
    "a truth for a number": '{"train": {"epochs": true}}',
    "a number for a truth": '{"train": {"compile": 0}}',
    "a part of a whole": '{"train": {"epochs": 1.5}}',
    "no epoch": '{"train": {"epochs": 0}}',
    "endless epochs": '{"train": {"epochs": 1000000000000}}',
    "a negative seed": '{"train": {"seed": -1}}',
    "a seed that no generator takes": '{"train": {"seed": 4294967296}}',
    "an infinite rate": '{"train": {"learning_rate": Infinity}}',
    "a rate beyond floats": '{"train": {"learning_rate": 1e999}}',
    "a rate beyond floats, written out": '{"train": {"learning_rate": 1' + "0" * 400 + "}}",
    "a rate that is no number": '{"train": {"learning_rate": NaN}}',
    "more digits than Python reads": '{"train": {"epochs": 1' + "0" * 5000 + "}}",
    "no head": '{"model": {"num_heads": 0}}',
    "heads that do not divide": '{"model": {"num_heads": 3}}',
    "a negative width": '{"model": {"dim": -64, "num_heads": 1}}',
    "a width beyond memory": '{"model": {"dim": 1000000000, "num_heads": 1}}',
    "a history beyond features": '{"model": {"max_length": 201}}',
    "a family in a list": '{"model": {"family": ["sasrec"]}}',
    "dropout of all but nothing": '{"model": {"dropout": 0.999}}',
    "parts in parts": '{"model": {"family": "blend", "components": [["sasrec"]]}}',
    "an address that no file system has": '{"train": {"item_init": "pretrained:a\\u0000b"}}',
    "no users": '{"data": {"min_users": 0}}',
    "a ranker without width": '{"rank": {"dim": 0}}',
    "endless samples": '{"rate": {"num_samples": 1000000000000}}',
    "no cutoff": '{"evaluation": {"cutoffs": []}}',
    "a cutoff of nothing": '{"evaluation": {"cutoffs": [0]}}',
    "a cutoff in letters": '{"evaluation": {"cutoffs": ["5"]}}',
    "lists that fill the memory": '{"evaluation": {"cutoffs": [1001]}}',
    "a cutoff twice": '{"evaluation": {"cutoffs": [5, 5]}}',
    "no sample": '{"evaluation": {"bootstrap_samples": 0}}',
    "a negative margin": '{"compression": {"max_ndcg_drop": -1}}',
    "a margin of all": '{"compression": {"max_ndcg_drop": 1}}',
    "no request": '{"compression": {"latency_requests": 0}}',
    "a name twice": '{"train": {"epochs": 1, "epochs": 2}}',
    "JSON without end": '{"train": ' + "[" * 100_000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_bad_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^E180 ") as refused:
        override(get_recipe("tiny"), text)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("text", "named"), [('{"tran": {}}', "train"), ('{"train": {"epohcs": 1}}', "epochs"), ('{"model": {"max_lenght": 9}}', "max_length")]
)
def test_an_unknown_name_suggests_the_nearest(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=rf"did you mean {named}\?"):
        override(get_recipe("tiny"), text)


def test_a_whole_number_is_a_rate_as_well() -> None:
    assert to_json(override(get_recipe("tiny"), '{"train": {"learning_rate": 1}}')) == to_json(
        override(get_recipe("tiny"), '{"train": {"learning_rate": 1.0}}')
    )


def test_an_unknown_recipe_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean sasrec"):
        get_recipe("sasrek")
