"""Training that begins where another ended: items are known by their ids, and learning may look at what is new alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lodestar.bundle import bundle
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import Recipe, override
from lodestar.data.split.interactions import Interactions
from lodestar.errors import ConfigError, DataError, UsageError
from lodestar.features.batch import feature_set
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.recipes import get_recipe
from lodestar.schema.time_units import SECOND_US
from lodestar.training.loop import weights
from lodestar.training.loop.cost import data_sufficiency_warning
from lodestar.training.run import train
from tests.cycles import cycles

OLD = [f"i{row}" for row in range(12)]


def features(folder: Path, items: list[str], sequences: Sequences) -> Path:
    """Sequences of items by their number in OLD, a second between two of them, in a catalogue of any order."""
    row = np.array([items.index(item) for item in OLD], dtype=np.int32)
    lengths = [len(sequence) for sequence in sequences]
    interactions = Interactions(
        users=[f"u{user}" for user in range(len(sequences))],
        items=items,
        user=np.repeat(np.arange(len(sequences), dtype=np.int32), lengths),
        item=row[np.concatenate(sequences)],
        time=np.concatenate([np.arange(length, dtype=np.int64) * SECOND_US for length in lengths]),
    )
    folder.mkdir()
    catalogue = Catalogue(ids=items, titles=items, categories=[""] * len(items), is_active=np.ones(len(items), dtype=bool))
    feature_set.save(interactions, catalogue, folder)
    return folder


def known() -> Sequences:
    """What the first bundle learns from; the longest history has 25 items."""
    return [*cycles(), (np.arange(25) % 12).astype(np.int32)]


def quick(**train: Any) -> Recipe:
    return override(get_recipe("tiny"), json.dumps({"train": {"epochs": 4, "batch_tokens": 128, "learning_rate": 0.01, **train}}))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    train(features(folder / "features", OLD, known()), folder / "bundle", quick(epochs=20, patience=20), str(folder / "checkpoints"))
    return folder / "bundle"


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


def test_items_are_known_by_their_ids_and_new_ones_keep_what_they_have(first: Path) -> None:
    trained = weights.load(str(first))
    items = ["new", *reversed(OLD)]
    model = NextItemModel(len(items), get_recipe("tiny").model)
    started = model.items.weight.detach().clone()
    assert weights.warm_start(trained, model, items) == len(OLD)
    assert torch.equal(model.items.weight[0], started[0])
    expected = torch.from_numpy(trained.values["items.weight"][::-1].copy())
    assert torch.equal(model.items.weight[1:], expected)
    assert torch.equal(model.encoder.state_dict()["norm.bias"], torch.from_numpy(trained.values["encoder.norm.bias"]))


def test_a_warm_start_is_good_from_its_first_epoch_in_a_grown_catalogue(first: Path, tmp_path: Path) -> None:
    found = features(tmp_path / "features", ["new", *reversed(OLD)], cycles())
    train(found, tmp_path / "cold", quick(epochs=1), str(tmp_path / "one"))
    train(found, tmp_path / "warm", quick(epochs=1, warm_start=str(first)), str(tmp_path / "two"))
    assert log(tmp_path / "warm")[0]["ndcg_at_10"] > 0.95 > log(tmp_path / "cold")[0]["ndcg_at_10"]


def test_only_new_events_are_trained_on(first: Path, tmp_path: Path) -> None:
    """The bundle has seen all but the last two items of the longest history; five users went on after that time."""
    assert weights.load(str(first)).last_trained_us == 22 * SECOND_US
    went_on = [(np.arange(40) + user).astype(np.int32) % 12 for user in range(5)]
    found = features(tmp_path / "features", OLD, [*known(), *went_on])
    for name, settings in {"all": {}, "new": {"incremental": True}}.items():
        train(found, tmp_path / name, quick(epochs=1, warm_start=str(first), **settings), str(tmp_path / f"{name} checkpoints"))
    samples = {name: log(tmp_path / name)[0]["samples"] for name in ("all", "new")}
    assert samples["new"] == 5 * (38 - (23 - 10) - 1)  # all but the last two, from half a window before the first new one; one is no target
    assert samples["all"] == sum(len(items) - 3 for items in [*known(), *went_on])
    assert weights.load(str(tmp_path / "new")).last_trained_us == 37 * SECOND_US


def test_nothing_new_teaches_nothing(first: Path, tmp_path: Path) -> None:
    found = features(tmp_path / "features", OLD, known())
    train(found, tmp_path / "bundle", quick(epochs=1, warm_start=str(first), incremental=True), str(tmp_path / "checkpoints"))
    before, after = (weights.load(str(folder)).values["items.weight"] for folder in (first, tmp_path / "bundle"))
    np.testing.assert_array_equal(before, after)


def test_another_shape_is_refused(first: Path, tmp_path: Path) -> None:
    found = features(tmp_path / "features", OLD, cycles())
    other = override(quick(warm_start=str(first)), '{"model": {"dim": 8}}')
    with pytest.raises(UsageError, match="use its recipe"):
        train(found, tmp_path / "bundle", other, str(tmp_path / "checkpoints"))
    assert not (tmp_path / "bundle").exists()


def test_a_bundle_without_weights_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E154"):
        weights.load(str(tmp_path))


def test_only_new_needs_something_older() -> None:
    with pytest.raises(ConfigError, match="warm_start"):
        quick(incremental=True)


def test_a_bundle_says_what_its_training_cost(first: Path) -> None:
    cost = json.loads((first / "cost.json").read_text())
    assert cost["samples"] == sum(line["samples"] for line in log(first))
    assert cost["samples_per_s"] == pytest.approx(cost["samples"] / cost["seconds"], rel=0.05)
    assert cost["parameters"] == sum(values.size for name, values in weights.load(str(first)).values.items())
    assert cost["gpu_minutes"] == 0
    assert 100 < cost["peak_memory_mib"] < 20_000
    assert "cost.json" not in bundle.load(first).info.files


def test_too_few_data_are_said() -> None:
    def interactions(count: int, num_items: int) -> Interactions:
        rows = np.arange(count)
        return Interactions(users=["u"], items=[], user=(rows * 0).astype(np.int32), item=(rows % num_items).astype(np.int32), time=rows)

    assert data_sufficiency_warning(interactions(20_000, 100)) == ""
    assert "fewer than 10,000" in data_sufficiency_warning(interactions(500, 100))
    assert "100% of the items" in data_sufficiency_warning(interactions(20_000, 10_000))
