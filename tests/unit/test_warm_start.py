"""Training that begins where another ended: items are known by their ids, and learning may look at what is new alone."""

import json
from dataclasses import replace
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
from lodestar.io import npz
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.recipes import get_recipe
from lodestar.schema.time_units import DAY_US, SECOND_US
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop import weights
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.loop.cost import data_sufficiency_warning
from lodestar.training.run import train
from lodestar.training.stages import Training
from lodestar.tuning.search import tune
from tests.cycles import cycles

OLD = [f"i{row}" for row in range(12)]


LATER_S = 30  # after all that the first bundle was trained on


def features(folder: Path, items: list[str], sequences: Sequences, num_early: int | None = None, start_us: int = 0) -> Path:
    """Sequences of items by their number in OLD, a second apart, in a catalogue of any order; all but some begin at LATER_S."""
    begin_s = [0 if num_early is None or user < num_early else LATER_S for user in range(len(sequences))]
    row = np.array([items.index(item) for item in OLD], dtype=np.int32)
    lengths = [len(sequence) for sequence in sequences]
    interactions = Interactions(
        users=[f"u{user}" for user in range(len(sequences))],
        items=items,
        user=np.repeat(np.arange(len(sequences), dtype=np.int32), lengths),
        item=row[np.concatenate(sequences)],
        time=np.concatenate(
            [start_us + (begin + np.arange(length, dtype=np.int64)) * SECOND_US for begin, length in zip(begin_s, lengths, strict=True)]
        ),
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
    found = features(tmp_path / "features", ["new", *reversed(OLD)], cycles(), num_early=0)
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


def test_the_last_trained_time_may_lie_before_1970(tmp_path: Path) -> None:
    start_us = -10_000 * DAY_US
    found = features(tmp_path / "features", OLD, known(), start_us=start_us)
    train(found, tmp_path / "bundle", quick(epochs=1), str(tmp_path / "checkpoints"))
    assert weights.load(str(tmp_path / "bundle")).last_trained_us == start_us + 22 * SECOND_US


@pytest.mark.parametrize("incremental", [False, True])
def test_validation_items_that_the_weights_may_know_are_refused(incremental: bool, first: Path, tmp_path: Path) -> None:
    """The same log, or a shorter one: whatever it validates on, the bundle may have been trained on."""
    found = features(tmp_path / "features", OLD, cycles())
    recipe = quick(epochs=1, warm_start=str(first), incremental=incremental)
    with pytest.raises(UsageError, match=r"E193 no user has a validation item after 1970-01-01 00:00:22 UTC.*: train with later events"):
        train(found, tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    assert not (tmp_path / "bundle").exists()
    train(found, tmp_path / "bundle", quick(epochs=1), str(tmp_path / "checkpoints"))  # without train.warm_start, as it says


def test_a_search_refuses_them_before_its_first_trial(first: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="E193"):
        tune(features(tmp_path / "features", OLD, cycles()), quick(warm_start=str(first)), "{}", tmp_path / "study", 1, 1)


def test_validation_uses_the_users_whose_items_are_later(first: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = feature_set.load(features(tmp_path / "features", OLD, [*cycles(), *cycles(5)], num_early=60))
    training = Training(found, quick(warm_start=str(first)), Group(), lambda _: None)
    assert training.cases.user.tolist() == [60, 61, 62, 63, 64]
    assert training.cases.cutoff_us.min() >= weights.load(str(first)).last_trained_us
    assert '"validation_users": 5, "known_validation_items": 60' in capfd.readouterr().err


def test_weights_know_what_their_own_warm_start_knew(first: Path, tmp_path: Path) -> None:
    """The second bundle's log ends before the first one's."""
    found = feature_set.load(features(tmp_path / "features", OLD, cycles()))
    old = replace(weights.load(str(first)), last_trained_us=0)
    training = Training(found, quick(epochs=1), Group(), lambda _: None)
    training.weights = old
    assert training.run(TrainingState(stage="search")).last_trained_us == 8 * SECOND_US
    training.weights = replace(old, last_trained_us=22 * SECOND_US)
    assert training.run(TrainingState(stage="search")).last_trained_us == 22 * SECOND_US


def by_time(recipe: Recipe) -> Recipe:
    return override(recipe, '{"data": {"split": "time", "test_share": 0.2, "validation_share": 0.2}}')


def test_a_split_by_time_refuses_weights_that_know_what_comes_after_its_cutoff(first: Path, tmp_path: Path) -> None:
    """All that is after the first cutoff is held out; the first bundle of the same log was refitted on the validation items."""
    log_ = features(tmp_path / "features", OLD, known())
    for name, refit in {"refitted": True, "searched": False}.items():
        train(log_, tmp_path / name, by_time(quick(epochs=1, refit=refit)), str(tmp_path / "checkpoints"))
    with pytest.raises(UsageError, match=r"E193 the warm start bundle was trained on events up to .*, and the items after .* are held out"):
        train(log_, tmp_path / "bundle", by_time(quick(epochs=1, warm_start=str(tmp_path / "refitted"))), str(tmp_path / "checkpoints"))
    train(log_, tmp_path / "bundle", by_time(quick(epochs=1, warm_start=str(tmp_path / "searched"))), str(tmp_path / "checkpoints"))


def test_weights_of_another_split_are_refused(first: Path, tmp_path: Path) -> None:
    """The test item of a user is before the cutoff of another split, and was trained on."""
    found = features(tmp_path / "features", OLD, cycles(), num_early=0)
    with pytest.raises(UsageError, match=r"E193.*trained by the split leave_one_out, and may know test items of the split time"):
        train(found, tmp_path / "bundle", by_time(quick(warm_start=str(first))), str(tmp_path / "checkpoints"))
    older = tmp_path / "older"
    older.mkdir()
    (older / weights.FILE).write_bytes((first / weights.FILE).read_bytes())
    for info in (None, b"{}", b"[", b'{"training": {}}', b'{"training": {"recipe": {"data": {"split": 1}}}}'):
        if info is not None:
            (older / bundle.INFO).write_bytes(info)
        with pytest.raises(UsageError, match=r"E193.*the split of an older version"):
            train(found, tmp_path / "bundle", quick(warm_start=str(older)), str(tmp_path / "checkpoints"))


@pytest.mark.parametrize(
    "change",
    [
        lambda values: {name: value for name, value in values.items() if name != weights.LAST_TRAINED_US},
        lambda values: {**values, weights.LAST_TRAINED_US: np.zeros(0)},
        lambda values: {name: value for name, value in values.items() if not name.startswith("item_id")},
        lambda values: {**values, "items.weight": np.full_like(values["items.weight"], np.nan)},
    ],
)
def test_damaged_weights_are_a_coded_error(change: Any, first: Path, tmp_path: Path) -> None:
    npz.save(tmp_path / weights.FILE, change(dict(np.load(first / weights.FILE))))
    with pytest.raises(DataError, match=f"E182 {tmp_path / weights.FILE}"):
        weights.load(str(tmp_path))


@pytest.mark.parametrize("name", ["blend", "ease"])
def test_only_a_neural_family_starts_from_weights(name: str) -> None:
    with pytest.raises(ConfigError, match="E180 warm_start needs a neural family"):
        override(get_recipe(name), '{"train": {"warm_start": "bundle"}}')


def test_another_shape_is_refused(first: Path, tmp_path: Path) -> None:
    found = features(tmp_path / "features", OLD, cycles(), num_early=0)
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
