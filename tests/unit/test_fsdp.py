"""Workers that keep a part of a model each learn what workers with a whole one learn, and go on from a checkpoint as any other."""

import io
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lodestar.config import Recipe, override
from lodestar.errors import ConfigError
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.recipes import get_recipe
from lodestar.training.distributed.distributed import Group, process_group
from lodestar.training.distributed.sharded_embedding import ShardedItemTable, uses_row_sharding
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.loop.loop import Stage, fit
from lodestar.training.loop.validation import Validator
from tests.cycles import NUM_ITEMS, cycles, next_items
from tests.forked_workers import call_preloaded, fork_workers

WORKERS, EPOCHS, HALF = 2, 3, 2
ROWS = "rows"
KINDS: dict[str, dict[str, Any]] = {
    "whole": {},
    ROWS: {"optimiser": "rowwise_adagrad", "loss": "gbce", "num_negatives": 8, "embedding_learning_rate": 0.1},
}


def chosen(kind: str, *, shard: bool) -> Recipe:
    train = {"epochs": EPOCHS, "batch_tokens": 128, "learning_rate": 0.01, "shard": shard, "validate_every": 1, **KINDS[kind]}
    return override(get_recipe("tiny"), json.dumps({"train": train, "model": {"dropout": 0.0}}))


def learn(
    group: Group,
    kind: str,
    *,
    shard: bool,
    state: TrainingState,
    last_epoch: int = EPOCHS,
    on_epoch_end: Callable[[TrainingState], None] = lambda _: None,
) -> tuple[NextItemModel, TrainingState]:
    torch.manual_seed(0)
    run, sequences = chosen(kind, shard=shard), cycles()
    model = NextItemModel(NUM_ITEMS, run.model)
    stage = Stage(
        name="search",
        sequences=sequences,
        gap_classes=[np.ones(len(items), dtype=np.uint8) for items in sequences],
        last_epoch=last_epoch,
        validate=Validator(next_items(sequences), run.model.max_length, NUM_ITEMS, group, by_items=uses_row_sharding(run.train, group)),
        on_epoch_end=on_epoch_end,
    )
    return model, fit(model, stage, run, group, state)


def train_all(folder: Path) -> None:
    """Everything that is looked at: by two workers, and by one that goes on from where they were."""
    fork_workers(WORKERS, work, folder)
    fork_workers(1, go_on_alone, folder)


def work(folder: Path) -> None:
    """One worker's part."""
    with process_group("cpu") as group:
        torch.save({kind: told(group, kind) for kind in KINDS}, folder / f"{group.rank}.pt")


def go_on_alone(folder: Path) -> None:
    found, alone = torch.load(folder / "0.pt", weights_only=True), {}
    for kind, shard in product(KINDS, (False, True)):
        model, state = learn(Group(), kind, shard=shard, state=kept(found[kind]["half"]))
        alone[f"{kind} {shard}"] = {"log": lines(state), "weights": model.state_dict()}
    torch.save(alone, folder / "alone.pt")


def told(group: Group, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def keep(state: TrainingState) -> None:
        if state.epoch == HALF:
            found["half"] = _bytes(state)  # the last time of workers with a part each

    for shard in (False, True):
        model, state = learn(group, kind, shard=shard, state=TrainingState(stage="search"), on_epoch_end=keep)
        found[f"log {shard}"], found[f"weights {shard}"] = lines(state), model.state_dict()
    model, state = learn(group, kind, shard=True, state=kept(found["half"]))
    found["log resumed"], found["weights resumed"] = lines(state), model.state_dict()
    _, alone = learn(Group(), kind, shard=True, state=TrainingState(stage="search"), last_epoch=HALF)
    model, state = learn(group, kind, shard=True, state=kept(_bytes(alone)))
    found["log from one"], found["items from one"] = lines(state), model.items.weight.detach()
    table = model.items.weight
    if kind == ROWS:
        found["share"] = ShardedItemTable(model, group).rows.weight.numel() / table.numel()
    else:
        from lodestar.training.distributed.fsdp import shard_model

        found["share"] = shard_model(model, group).items.weight.to_local().numel() / table.numel()  # type: ignore[attr-defined]
    return found


def _bytes(state: TrainingState) -> bytes:
    content = io.BytesIO()
    torch.save(vars(state), content)
    return content.getvalue()


def kept(content: bytes) -> TrainingState:
    """A state as it comes from a checkpoint."""
    return TrainingState(**torch.load(io.BytesIO(content), weights_only=True))


def lines(state: TrainingState) -> list[list[float]]:
    return [[float(line[name]) for name in ("loss", "ndcg_at_10", "hit_rate_at_10", "auc")] for line in state.log]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sharded")
    call_preloaded(train_all, made)
    return made


@pytest.fixture(scope="module")
def of_workers(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORKERS)]


@pytest.fixture(params=list(KINDS))
def found(request: pytest.FixtureRequest, of_workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of one kind, by worker."""
    return [one[request.param] for one in of_workers]


def test_parts_learn_what_whole_models_do(found: list[dict[str, Any]]) -> None:
    for one in found:
        np.testing.assert_allclose(one["log True"], one["log False"], rtol=1e-4)
        assert one["log True"][-1][0] < one["log True"][0][0]
        torch.testing.assert_close(one["weights True"], one["weights False"], rtol=1e-3, atol=1e-4)


def test_all_workers_end_with_the_same_whole_model(found: list[dict[str, Any]]) -> None:
    torch.testing.assert_close(found[0]["weights True"], found[1]["weights True"], rtol=0, atol=0)


def test_a_worker_keeps_its_part_alone(found: list[dict[str, Any]]) -> None:
    assert sum(one["share"] for one in found) == pytest.approx(1)
    assert max(one["share"] for one in found) < 0.6


def test_a_run_goes_on_from_where_it_was(found: list[dict[str, Any]]) -> None:
    for one in found:
        np.testing.assert_allclose(one["log resumed"], one["log True"], rtol=1e-5)
        torch.testing.assert_close(one["weights resumed"], one["weights True"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shard", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_one_worker_goes_on_from_where_two_with_a_part_each_were(
    folder: Path, of_workers: list[dict[str, Any]], kind: str, shard: bool
) -> None:
    alone, together = torch.load(folder / "alone.pt", weights_only=True)[f"{kind} {shard}"], of_workers[0][kind]
    np.testing.assert_allclose(alone["log"], together["log True"], rtol=1e-4)
    torch.testing.assert_close(alone["weights"], together["weights True"], rtol=1e-3, atol=1e-4)


def test_two_with_a_part_each_go_on_from_where_one_was(found: list[dict[str, Any]]) -> None:
    for one in found:
        np.testing.assert_allclose(one["log from one"], one["log True"], rtol=1e-4)
        torch.testing.assert_close(one["items from one"], one["weights True"]["items.weight"], rtol=1e-3, atol=1e-4)


def test_a_running_mean_of_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="shard"):
        override(get_recipe("tiny"), json.dumps({"train": {"ema_decay": 0.9, "shard": True}}))
