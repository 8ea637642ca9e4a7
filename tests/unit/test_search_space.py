"""The hyperparameters that are tuned: ranges for every family but for what the user fixed, the same here and in a Katib experiment."""

import json
import re
from typing import Any

import pytest
import yaml

from cli.main import main
from components.kubernetes.katib import experiment
from components.kubernetes.training_job import TrainingJob
from lodestar.config import TRAINED_FAMILIES, override
from lodestar.errors import UsageError
from lodestar.recipes import RECIPES, get_recipe
from lodestar.tuning.space import SPACES, Choice, Range, space_of, with_values

QUICK = '{"train": {"epochs": 2, "learning_rate": 0.01}}'


def test_every_family_that_learns_has_a_space_and_every_value_of_it_makes_a_recipe() -> None:
    assert tuple(SPACES) == tuple(name for name in SPACES if name in TRAINED_FAMILIES)
    assert set(SPACES) == set(TRAINED_FAMILIES)
    for name in ("sasrec", "lstm", "two_tower"):
        for field, allowed in space_of(get_recipe(name), "{}").items():
            for value in allowed.values if isinstance(allowed, Choice) else (allowed.low, allowed.high):
                section, key = field.split(".")
                assert getattr(getattr(with_values(get_recipe(name), {field: value}), section), key) == value


def test_what_the_user_fixed_is_not_tuned() -> None:
    assert "train.learning_rate" not in space_of(get_recipe("tiny"), QUICK)
    assert "model.dropout" in space_of(get_recipe("tiny"), QUICK)
    with pytest.raises(UsageError, match="nothing to tune"):
        space_of(get_recipe("ease"), "{}")
    everything = {"train": {"learning_rate": 1}, "model": {}}
    for name in SPACES["caser"]:
        everything.setdefault(name.split(".")[0], {})[name.split(".")[1]] = 1
    with pytest.raises(UsageError, match="fix all"):
        space_of(get_recipe("caser"), json.dumps(everything))


def test_values_that_do_not_go_with_what_is_fixed_are_not_tried() -> None:
    assert space_of(override(get_recipe("tiny"), '{"model": {"dim": 30}}'), '{"model": {"dim": 30}}')["model.num_heads"] == Choice(
        values=(1, 2)
    )
    with pytest.raises(UsageError, match=r"model\.dim is valid with the overrides"):
        space_of(override(get_recipe("tiny"), '{"model": {"num_heads": 3, "dim": 9}}'), '{"model": {"num_heads": 3}}')


def job(name: str, overrides: str = "{}") -> TrainingJob:
    return TrainingJob(
        name="tune",
        namespace="lodestar-training",
        image="i",
        features="s3://b/f",
        bundle="s3://b/trials",
        checkpoints="s3://b/c",
        recipe=name,
        overrides=overrides,
        workers=1,
    )


@pytest.mark.parametrize("name", sorted(name for name in RECIPES if RECIPES[name]().model.family in TRAINED_FAMILIES))
def test_an_experiment_has_the_same_ranges_and_its_trials_are_runs(name: str) -> None:
    fixed = '{"train": {"epochs": 7, "order_jitter": 1.0}}'
    space = space_of(get_recipe(name), fixed)
    spec = experiment(job(name, fixed), space, 12, 3)["spec"]
    assert {f"{entry['name']}" for entry in spec["parameters"]} == {field.partition(".")[2] for field in space}
    for entry, allowed in zip(spec["parameters"], space.values(), strict=True):
        ends = entry["feasibleSpace"]
        if isinstance(allowed, Range):
            assert (float(ends["min"]), float(ends["max"]), "distribution" in ends) == (allowed.low, allowed.high, allowed.log)
        else:
            assert [str(value) for value in allowed.values] == ends["list"]
    template = spec["trialTemplate"]
    filled = json.dumps(template["trialSpec"])
    values = {entry["name"]: _one_of(entry) for entry in spec["parameters"]} | {"trial": "tune-1"}
    assert {entry["name"] for entry in template["trialParameters"]} == values.keys()
    for key, value in values.items():
        assert f"${{trialParameters.{key}}}" in filled
        filled = filled.replace(f"${{trialParameters.{key}}}", value)
    assert "${" not in filled
    arguments = json.loads(filled)["pytorchReplicaSpecs"] if "pytorchReplicaSpecs" in filled[:20] else json.loads(filled)
    (container,) = arguments["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
    assert container["name"] == template["primaryContainerName"]
    options = dict(argument.removeprefix("--").split("=", 1) for argument in container["args"])
    assert options["output"] == "s3://b/trials/tune-1"
    made = override(get_recipe(name), options["overrides"])
    assert (made.train.epochs, made.train.order_jitter) == (7, 1.0)


def test_the_metric_is_found_in_what_training_says() -> None:
    (pattern,) = experiment(job("tiny"), space_of(get_recipe("tiny"), "{}"), 1, 1)["spec"]["metricsCollectorSpec"]["source"]["filter"][
        "metricsFormat"
    ]
    line = '{"lodestar": "progress", "step": "train search", "epoch": 2.0, "hit_rate_at_10": 1.0, "ndcg_at_10": 0.71617, "auc": 0.8}'
    assert re.findall(pattern, line) == [("ndcg_at_10", "0.71617")]


def test_the_command_prints_an_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--features", "s3://b/f", "--recipe", "two_tower", "--katib", "registry/train:1", "--trials", "3"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["kind"], printed["metadata"]["name"], printed["spec"]["maxTrialCount"]) == ("Experiment", "tune-two-tower", 3)


def _one_of(entry: dict[str, Any]) -> str:
    ends = entry["feasibleSpace"]
    return str(ends["list"][-1] if "list" in ends else ends["max"])
