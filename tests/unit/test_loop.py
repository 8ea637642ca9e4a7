"""The training loop learns, stops at its best, resumes where it was, and does not care how many it is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lodestar.config import Recipe, override
from lodestar.errors import ConfigError, EnvironmentFault, UsageError
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.recipes import get_recipe
from lodestar.training.distributed.distributed import Group, choose_device
from lodestar.training.loop.checkpoints import Checkpoints, TrainingState
from lodestar.training.loop.loop import Stage, fit
from lodestar.training.loop.validation import Validator
from lodestar.training.optimisation.schedule import lr_scale
from tests.cycles import NUM_ITEMS, cycles, next_items


def short(overrides: str = "{}") -> Recipe:
    return override(override(get_recipe("tiny"), '{"train": {"epochs": 8, "batch_tokens": 128, "learning_rate": 0.01}}'), overrides)


def stage(recipe: Recipe, keep: list[TrainingState] | None = None) -> Stage:
    def remember(state: TrainingState) -> None:
        if keep is not None:
            keep.append(state)

    sequences = cycles()
    return Stage(
        name="search",
        sequences=sequences,
        gap_classes=[np.ones(len(items), dtype=np.uint8) for items in sequences],
        last_epoch=recipe.train.epochs,
        validate=Validator(next_items(sequences), recipe.model.max_length, NUM_ITEMS, Group()),
        on_epoch_end=remember,
    )


def trained(recipe: Recipe) -> tuple[NextItemModel, TrainingState]:
    torch.manual_seed(0)
    model = NextItemModel(NUM_ITEMS, recipe.model)
    return model, fit(model, stage(recipe), recipe, Group(), TrainingState(stage="search"))


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "gbce", "bce", "bpr"])
def test_a_certain_next_item_is_learned(loss: str) -> None:
    train = {"loss": loss, "patience": 8, "epochs": 6, "batch_tokens": 64}
    _, state = trained(short(json.dumps({"train": train, "model": {"dropout": 0.0}})))
    assert state.log[-1]["loss"] < state.log[0]["loss"]  # type: ignore[operator]
    assert state.log[-1]["ndcg_at_10"] > 0.9  # type: ignore[operator]


@pytest.mark.parametrize("loss", ["sampled_softmax", "gbce", "bce", "bpr"])
def test_rows_by_themselves_learn_it_too(loss: str) -> None:
    train = {"loss": loss, "optimiser": "rowwise_adagrad", "embedding_learning_rate": 0.3, "num_negatives": 4, "patience": 8, "epochs": 6}
    _, state = trained(short(json.dumps({"train": {**train, "batch_tokens": 64}, "model": {"dropout": 0.0}})))
    assert state.log[-1]["ndcg_at_10"] > 0.9  # type: ignore[operator]


def test_sgd_and_half_precision_learn() -> None:
    _, state = trained(short('{"train": {"optimiser": "sgd", "learning_rate": 0.1, "precision": "bf16", "patience": 8}}'))
    assert state.log[-1]["loss"] < 0.8 * state.log[0]["loss"]  # type: ignore[operator]


def test_the_ema_is_what_is_validated_and_kept() -> None:
    plain, averaged = (trained(short(json.dumps({"train": {"ema_decay": kept, "patience": 8}}))) for kept in (0.0, 0.9))
    assert [line["loss"] for line in averaged[1].log] == [line["loss"] for line in plain[1].log]
    assert [line.get("ndcg_at_10") for line in averaged[1].log] != [line.get("ndcg_at_10") for line in plain[1].log]
    assert averaged[1].best_ndcg > 0.9
    torch.testing.assert_close(averaged[0].state_dict(), averaged[1].best)


def test_the_model_ends_with_the_weights_of_its_best_epoch() -> None:
    model, state = trained(short())
    best = [line for line in state.log if line["epoch"] == state.best_epoch]
    assert best[0]["ndcg_at_10"] == state.best_ndcg == max(line["ndcg_at_10"] for line in state.log)
    torch.testing.assert_close(model.state_dict(), state.best)


def test_training_stops_when_validation_stalls() -> None:
    run = short('{"train": {"patience": 2, "learning_rate": 1e-12}}')
    _, state = trained(run)
    assert state.epoch == state.best_epoch + 2 < run.train.epochs


class Killed(BaseException):
    pass


@pytest.mark.parametrize("train", [{}, {"ema_decay": 0.9}, {"optimiser": "rowwise_adagrad", "loss": "gbce"}])
def test_a_resumed_run_gives_the_numbers_of_an_unbroken_one(train: dict[str, Any], tmp_path: Path) -> None:
    run, store = short(json.dumps({"train": {"epochs": 5, "patience": 8, **train}})), Checkpoints(address=str(tmp_path), run="one")
    unbroken, expected = trained(run)

    def save_and_die(state: TrainingState) -> None:
        store.save(state)
        if state.epoch == 2:
            raise Killed

    torch.manual_seed(0)
    first = NextItemModel(NUM_ITEMS, run.model)
    dying = replace(stage(run), on_epoch_end=save_and_die)
    with pytest.raises(Killed):
        fit(first, dying, run, Group(), TrainingState(stage="search"))
    content = store.load()
    assert content is not None
    second = NextItemModel(NUM_ITEMS, run.model)
    state = fit(second, stage(run), run, Group(), store.decode(content))
    torch.testing.assert_close(second.state_dict(), unbroken.state_dict(), rtol=0, atol=0)
    assert [line["loss"] for line in state.log] == [line["loss"] for line in expected.log]


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    Checkpoints(address=str(tmp_path), run="one").save(TrainingState(stage="search"))
    other = Checkpoints(address=str(tmp_path), run="two")
    content = other.load()
    assert content is not None
    with pytest.raises(UsageError, match="another recipe"):
        other.decode(content)


def test_there_is_no_checkpoint_before_the_first_epoch(tmp_path: Path) -> None:
    assert Checkpoints(address=str(tmp_path), run="one").load() is None


def test_a_loss_that_is_no_number_is_said_and_not_trained_on() -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        trained(short('{"train": {"learning_rate": 1e30}}'))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_a_coded_error() -> None:
    with pytest.raises(EnvironmentFault, match="E501"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_the_rate_rises_then_falls() -> None:
    assert [lr_scale(progress, 0.1) for progress in (0, 0.05, 0.1)] == pytest.approx([0, 0.497, 0.976], abs=0.001)
    assert lr_scale(1, 0.1) == pytest.approx(0.01)
    assert lr_scale(0, 0) == 1
