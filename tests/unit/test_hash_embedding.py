"""Item vectors as sums of hashed rows: as many to learn as was asked for, whatever the catalogue."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lodestar.bundle import bundle
from lodestar.config import override
from lodestar.engine.recommender import Recommender
from lodestar.errors import ConfigError
from lodestar.models.encoders.hash_embedding import HashEmbedding, hash_rows
from lodestar.training.loop import weights
from lodestar.training.run import train
from tests.cycles import cycles
from tests.unit.test_warm_start import OLD, features, known, quick

HASHED = '{"model": {"hash_buckets": 16}}'


def test_an_id_names_the_same_rows_in_every_catalogue() -> None:
    few, many = hash_rows(["b", "a"], 50), hash_rows(["a", "é", "b"], 50)
    assert few.tolist() == [many[2].tolist(), many[0].tolist()]
    assert len(np.unique(hash_rows([f"i{row}" for row in range(1000)], 50))) == 50


def test_a_vector_is_the_sum_of_two_rows_and_teaches_both() -> None:
    items = HashEmbedding(["a", "b"], 10, 4)
    first, second = hash_rows(["b"], 10)[0]
    assert torch.equal(items.weight[1], items.rows.weight[first] + items.rows.weight[second])
    items.weight[1].sum().backward()  # type: ignore[no-untyped-call]
    assert items.rows.weight.grad is not None
    assert set(items.rows.weight.grad.sum(dim=1).nonzero().ravel().tolist()) == {first, second}


def test_it_begins_as_near_to_given_vectors_as_its_rows_allow() -> None:
    ids, wanted = [f"i{row}" for row in range(200)], torch.randn(200, 4)
    far, near = HashEmbedding(ids, 100, 4), HashEmbedding(ids, 300, 4)
    for items in (far, near):
        items.init_item_vectors(wanted)
    errors = [float((items.weight - wanted).square().mean().detach()) for items in (far, near)]
    assert errors[0] < 0.8
    assert errors[1] < 0.15


def test_a_hashed_model_learns_is_served_and_goes_on_in_another_catalogue(tmp_path: Path) -> None:
    recipe = override(quick(epochs=20, patience=20, item_init="cooccurrence"), HASHED)
    train(features(tmp_path / "features", OLD, known()), tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    made = bundle.load(tmp_path / "bundle")
    (first,) = Recommender(made).recommend(["i3", "i4", "i5"], 1)
    assert first.item_id == "i6"
    trained = weights.load(str(tmp_path / "bundle")).values["items.rows.weight"]
    assert trained.shape[0] == 16
    again = override(quick(epochs=1, warm_start=str(tmp_path / "bundle")), HASHED)
    train(
        features(tmp_path / "other", ["new", *OLD[::-1]], cycles(), num_early=0), tmp_path / "grown", again, str(tmp_path / "checkpoints")
    )
    (first,) = Recommender(bundle.load(tmp_path / "grown")).recommend(["i3", "i4", "i5"], 1)
    assert first.item_id == "i6"


def test_an_item_that_training_never_saw_has_no_vector_of_others(tmp_path: Path) -> None:
    recipe = override(quick(epochs=2, item_init="random"), HASHED)
    catalogue = [*OLD, "never"]
    train(features(tmp_path / "features", catalogue, known()), tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    made = bundle.load(tmp_path / "bundle")
    vectors = made.table.vectors(np.arange(len(catalogue)))
    assert [bool(np.abs(vectors[made.items.ids.index(item)]).max() > 0) for item in ("i3", "never")] == [True, False]


def test_rows_that_move_by_themselves_are_not_hashed() -> None:
    with pytest.raises(ConfigError, match="hash_buckets"):
        override(quick(optimiser="rowwise_adagrad", loss="bce"), HASHED)
