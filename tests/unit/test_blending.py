"""A blend of trained and closed-form components is trained, weighted, bundled and served as one model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.config import Recipe, override
from lodestar.engine.recommender import Recommender
from lodestar.errors import ConfigError
from lodestar.features.batch import feature_set
from lodestar.recipes import get_recipe
from lodestar.training import run
from lodestar.training.distributed.distributed import Group
from lodestar.training.ensemble.blending import BlendTraining
from lodestar.training.loop.checkpoints import TrainingState
from tests.cycles import features

PARTS = ["sasrec", "two_tower", "ials", "gf_cf"]
COUNTED = ["ials", "gf_cf"]


def quick(parts: list[str], **train: Any) -> Recipe:
    model = {"components": parts, "dim": 8, "num_heads": 1, "max_length": 20, "num_neighbours": 4}
    data = {"min_users": 1, "min_items": 1, "min_interactions": 1}
    return override(get_recipe("blend"), json.dumps({"data": data, "model": model, "train": {"epochs": 4, "batch_tokens": 128, **train}}))


def test_parts_that_tell_nothing_are_a_bundle_too(tmp_path: Path) -> None:
    """All weights are 0 then, and the first part answers."""
    run.train(features(tmp_path / "features"), tmp_path / "bundle", quick(["popularity"]), str(tmp_path / "checkpoints"))
    assert len(Recommender(bundle.load(tmp_path / "bundle")).recommend(["i1", "i2"], 3)) == 3


def test_it_is_trained_bundled_and_served(tmp_path: Path) -> None:
    given = features(tmp_path / "features")
    run.train(given, tmp_path / "bundle", quick(PARTS), str(tmp_path / "checkpoints"))
    loaded = bundle.load(tmp_path / "bundle")
    assert (loaded.info.family, loaded.info.recipe) == ("blend", "blend")
    assert {f"weight_of_{name}" for name in (*PARTS, "neighbours")} < set(loaded.info.metrics)
    assert loaded.info.metrics["validation_ndcg_at_10"] > 0.9
    assert Recommender(loaded).recommend(["i1", "i2"], k=3)[0].item_id == "i3"
    lines = [json.loads(line) for line in (tmp_path / "bundle" / "epochs.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"search", "refit", "search two_tower", "refit two_tower"}


class Killed(BaseException):
    pass


def test_stopped_in_its_second_part_it_goes_on_to_the_same_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, recipe_ = features(tmp_path / "features"), quick(PARTS)
    run.train(given, tmp_path / "whole", recipe_, str(tmp_path / "a"))
    kept, real = [0], run.ThrottledCheckpointer.__call__

    def dying(*arguments: Any) -> None:
        real(*arguments)
        kept[0] += 1
        if kept[0] == 6:
            raise Killed

    monkeypatch.setattr(run.ThrottledCheckpointer, "__call__", dying)
    with pytest.raises(Killed):
        run.train(given, tmp_path / "bundle", recipe_, str(tmp_path / "b"))
    assert not (tmp_path / "bundle").exists()
    monkeypatch.setattr(run.ThrottledCheckpointer, "__call__", real)
    run.train(given, tmp_path / "bundle", recipe_, str(tmp_path / "b"))
    assert bundle.load(tmp_path / "bundle").digest == bundle.load(tmp_path / "whole").digest


def made(folder: Path, recipe_: Recipe) -> Any:
    found = feature_set.load(features(folder))
    return BlendTraining(found, recipe_, Group(), lambda _: (TrainingState(stage="search"), lambda _state: None)).run()


def test_without_a_refit_no_validation_item_is_trained_on(tmp_path: Path) -> None:
    """Parts that count give the vectors that the training part alone gives."""
    before, after = (made(tmp_path / str(refit), quick(COUNTED, refit=refit)) for refit in (False, True))
    assert before.metrics == after.metrics
    assert before.retriever.vectors.shape == after.retriever.vectors.shape
    assert not np.allclose(before.retriever.vectors, after.retriever.vectors)
    assert before.log == []
    assert before.num_parameters == 0


@pytest.mark.parametrize("parts", [[], ["sasrec", "sasrec"], ["blend"], ["nonsense"]])
def test_parts_are_families_each_named_once(parts: list[str]) -> None:
    with pytest.raises(ConfigError, match="components"):
        quick(parts)


def test_only_a_blend_has_parts() -> None:
    with pytest.raises(ConfigError, match="components"):
        override(get_recipe("sasrec"), '{"model": {"components": ["ials"]}}')
