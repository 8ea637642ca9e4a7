"""A bundle says what its model was fitted on and by which recipe and split; another is refused, card and report tell what was done."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodestar.bundle import bundle, training_record
from lodestar.compression.run import compress
from lodestar.config import DataConfig, Recipe, override
from lodestar.errors import DataError, UsageError
from lodestar.evaluation.run import CARD, REPORT, evaluate
from lodestar.features.batch import feature_set
from lodestar.recipes import get_recipe
from lodestar.training import run
from lodestar.training.run import train
from tests.bundle_damage import seal
from tests.cycles import features

ALL, TRAIN = "all interactions before the test", "the training set only, without the validation set"
MINIMUM = {"data": {"min_users": 1, "min_items": 1, "min_interactions": 1}}


def quick(name: str, **sections: dict[str, Any]) -> Recipe:
    recipe = override(get_recipe(name), {**MINIMUM, "evaluation": {"bootstrap_samples": 20}})
    if name in {"tiny", "blend"}:
        recipe = override(recipe, {"train": {"epochs": 1, "batch_tokens": 256}})
    if name == "blend":
        recipe = override(recipe, {"model": {"components": ["popularity"]}})
    return override(recipe, sections)


def made(folder: Path, recipe: Recipe) -> tuple[Path, Path]:
    found = features(folder / "features")
    train(found, folder / "bundle", recipe, str(folder / "checkpoints"))
    return found, folder / "bundle"


@pytest.mark.parametrize(
    ("name", "refit", "fitted_on"),
    [
        ("cooccurrence", False, "before_test"),
        ("tiny", False, "train"),
        ("tiny", True, "before_test"),
        ("blend", False, "train"),
        ("blend", True, "before_test"),
    ],
)
def test_card_and_report_say_what_was_done(name: str, refit: bool, fitted_on: str, tmp_path: Path) -> None:
    recipe = quick(name, train={"refit": refit})
    found, trained = made(tmp_path, recipe)
    assert bundle.load(trained).info.training["fitted_on"] == fitted_on
    evaluate(found, trained, tmp_path / "evaluation", recipe)
    said, other = (ALL, TRAIN) if fitted_on == "before_test" else (TRAIN, ALL)
    for file in (CARD, REPORT):
        text = (tmp_path / "evaluation" / file).read_text()
        assert (said in text, other in text) == (True, False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return made(tmp_path_factory.mktemp("trained"), quick("cooccurrence"))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (quick("cooccurrence", data={"split": "time"}), "data.split leave_one_out, not time"),
        (quick("cooccurrence", train={"seed": 3}), "train.seed 0, not 3"),
        (quick("item_knn"), "recipe cooccurrence, not item_knn; model.family cooccurrence, not item_knn"),
    ],
)
def test_another_recipe_or_split_is_refused(trained: tuple[Path, Path], recipe: Recipe, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"E192 {trained[1]} was trained with {said}.*: give the recipe and overrides"):
        evaluate(*trained, tmp_path / "evaluation", recipe)
    with pytest.raises(UsageError, match="E192"):
        compress(*trained, tmp_path / "compressed", recipe)
    assert list(tmp_path.iterdir()) == []


def test_what_makes_no_other_model_is_not_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = quick("cooccurrence", train={"workers": 2, "device": "cpu"}, evaluation={"cutoffs": [10]}, data={"test_share": 0.2})
    evaluate(*trained, tmp_path / "evaluation", recipe)


def test_a_bundle_without_a_record_is_evaluated_as_the_recipe_says(trained: tuple[Path, Path], tmp_path: Path) -> None:
    found, root = trained
    old = tmp_path / "old"
    old.mkdir()
    for file in root.iterdir():
        (old / file.name).write_bytes(file.read_bytes())
    seal(old, training={})
    assert evaluate(found, old, tmp_path / "evaluation", quick("cooccurrence", train={"seed": 3})).protocol.refit


def test_fields_of_another_version_tell_nothing() -> None:
    record = training_record.training_record(quick("tiny"), "train")
    del record["recipe"]["train"]["seed"]
    record["recipe"]["train"]["of_old"] = 1
    training_record.refuse_other_recipe(Path("b"), "tiny", record, quick("tiny", train={"seed": 5}))


@pytest.mark.parametrize(
    "record", [[], {"fitted_on": "test", "recipe": {}}, {"fitted_on": "train"}, {"fitted_on": "train", "recipe": {"a": 1}}]
)
def test_a_damaged_record_is_a_coded_error(trained: tuple[Path, Path], record: Any, tmp_path: Path) -> None:
    for file in trained[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    seal(tmp_path, training=record)
    with pytest.raises(DataError, match=r"E182.*training cannot be"):
        bundle.load(tmp_path)


def test_the_record_names_no_address() -> None:
    recipe = quick("tiny", train={"warm_start": "s3://private/bundle", "item_init": "pretrained:s3://private/vectors"})
    assert "private" not in json.dumps(training_record.training_record(recipe, "train"))


def test_without_validation_cases_a_bundle_has_no_validation_metric(tmp_path: Path) -> None:
    """A user's only item is neither."""
    found = features(tmp_path / "features")
    whole = dict(np.load(found / "sequences.npz"))
    first = np.flatnonzero(np.diff(whole["user"], prepend=-1))
    np.savez(
        found / "sequences.npz", **{name: values[first] if name in {"user", "item", "time"} else values for name, values in whole.items()}
    )
    loaded = feature_set.load(found)
    assert len(loaded.split(DataConfig()).validation) == 0
    for name in ("tiny", "cooccurrence"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "check_evaluable", lambda *_: None)
            train(found, tmp_path / name, quick(name), str(tmp_path / "checkpoints"))
        assert "validation_ndcg_at_10" not in bundle.load(tmp_path / name).info.metrics


def test_features_of_another_split_are_refused(tmp_path: Path) -> None:
    loaded = feature_set.load(features(tmp_path / "features"))
    loaded.refuse_other_split(DataConfig(split="time"))  # they do not say
    feature_set.write_split(loaded.root, DataConfig(split="time"))
    built = feature_set.load(loaded.root)
    built.refuse_other_split(replace(DataConfig(split="time"), min_users=1))
    for other in (DataConfig(), DataConfig(split="time", test_share=0.2)):
        with pytest.raises(UsageError, match=r"E192 the features in .* build them with this recipe"):
            built.refuse_other_split(other)
    ranked = quick("sasrec_ranker")
    with pytest.raises(UsageError, match="E192"):
        train(loaded.root, tmp_path / "bundle", ranked, str(tmp_path / "checkpoints"))
