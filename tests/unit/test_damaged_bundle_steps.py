"""No step of a pipeline takes a damaged bundle, and what it would have made is not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lodestar import recipes
from lodestar.compression.run import compress
from lodestar.config import Recipe, override
from lodestar.errors import DataError
from lodestar.evaluation.run import evaluate
from lodestar.features.batch import feature_set
from lodestar.training.run import train
from tests import bundle_damage
from tests.bundle_damage_cases import DAMAGES
from tests.cycles import features as build
from tests.factories import small_bundle

Step = Callable[[Path, Path, Path, Recipe], Any]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("features") / "features")


@pytest.mark.parametrize("name", ["weights.npz cut off", "weights.npz of terabytes"])
def test_nothing_begins_at_damaged_weights(tmp_path: Path, features: Path, name: str) -> None:
    entries = {"until.npy": bundle_damage.claimed((1 << 40,), "<i8")} if name.endswith("terabytes") else {}
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights.npz").write_bytes(b"PK\x03\x04")
    if entries:
        bundle_damage.packed(tmp_path / "bundle" / "weights.npz", entries)
    recipe = override(recipes.get_recipe("tiny"), json.dumps({"train": {"warm_start": str(tmp_path / "bundle")}}))
    with pytest.raises(DataError, match=r"^E181 "):
        train(features, tmp_path / "made", recipe, str(tmp_path / "checkpoints"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("step", [evaluate, compress])
@pytest.mark.parametrize("name", ["a table with NaN", "a graph that makes terabytes"])
def test_no_step_takes_a_damaged_bundle(tmp_path: Path, features: Path, step: Step, name: str) -> None:
    recipe, code = recipes.get_recipe("tiny"), DAMAGES[name][0]
    found = feature_set.load(features)
    root = small_bundle(tmp_path / "bundle", num_items=len(found.items), features=found.generation)
    DAMAGES[name][1](root)
    with pytest.raises(DataError, match=rf"^{code} "):
        step(features, root, tmp_path / "made", recipe)
    assert not (tmp_path / "made").exists()
