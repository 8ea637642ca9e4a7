"""Workers that keep a part of a model each learn what workers with a whole one learn, and go on from a checkpoint as any other."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing

from lodestar.config import Recipe, override
from lodestar.errors import ConfigError
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.recipes import get_recipe
from lodestar.training.distributed.distributed import Group, process_group
from lodestar.training.distributed.fsdp import shard_model
from lodestar.training.distributed.sharded_embedding import ShardedItemTable, uses_row_sharding
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.loop.loop import Stage, fit
from lodestar.training.loop.validation import Validator
from lodestar.training.optimisation.optimiser import Optimiser
from tests.contract.conftest import free_port
from tests.cycles import NUM_ITEMS, cycles, next_items

WORKERS, EPOCHS = 2, 3
ROWS = "rows"
KINDS: dict[str, dict[str, Any]] = {
    "whole": {},
    ROWS: {"optimiser": "rowwise_adagrad", "loss": "gbce", "num_negatives": 8, "embedding_learning_rate": 0.1},
}


def chosen(kind: str, *, shard: bool) -> Recipe:
    train = {"epochs": EPOCHS, "batch_tokens": 64, "learning_rate": 0.01, "shard": shard, "validate_every": 1, **KINDS[kind]}
    return override(get_recipe("tiny"), json.dumps({"train": train, "model": {"dropout": 0.0}}))


def learn(group: Group, kind: str, *, shard: bool, state: TrainingState, last_epoch: int = EPOCHS) -> tuple[NextItemModel, TrainingState]:
    torch.manual_seed(0)
    run, sequences = chosen(kind, shard=shard), cycles()
    model = NextItemModel(NUM_ITEMS, run.model)
    stage = Stage(
        name="search",
        sequences=sequences,
        gap_classes=[np.ones(len(items), dtype=np.uint8) for items in sequences],
        last_epoch=last_epoch,
        validate=Validator(next_items(sequences), run.model.max_length, NUM_ITEMS, group, by_items=uses_row_sharding(run.train, group)),
        on_epoch_end=lambda _: None,
    )
    return model, fit(model, stage, run, group, state)


def work(rank: int, port: int, folder: str) -> None:
    """One worker's part of everything that is looked at."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(WORKERS)}
    torch.set_num_threads(1)
    with process_group("cpu") as group:
        torch.save({kind: told(group, kind) for kind in KINDS}, Path(folder) / f"{rank}.pt")


def told(group: Group, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for shard in (False, True):
        model, state = learn(group, kind, shard=shard, state=TrainingState(stage="search"))
        found[f"log {shard}"], found[f"weights {shard}"] = lines(state), model.state_dict()
    _, half = learn(group, kind, shard=True, state=TrainingState(stage="search"), last_epoch=2)
    found["half"] = _bytes(half)
    model, state = learn(group, kind, shard=True, state=kept(found["half"]))
    found["log resumed"], found["weights resumed"] = lines(state), model.state_dict()
    _, alone = learn(Group(), kind, shard=True, state=TrainingState(stage="search"), last_epoch=2)
    model, state = learn(group, kind, shard=True, state=kept(_bytes(alone)))
    found["log from one"], found["items from one"] = lines(state), model.items.weight.detach()
    table = model.items.weight
    if kind == ROWS:
        found["share"] = ShardedItemTable(model, group).rows.weight.numel() / table.numel()
    else:
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
def of_workers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("sharded")
    multiprocessing.spawn(work, args=(free_port(), str(folder)), nprocs=WORKERS)  # type: ignore[attr-defined, no-untyped-call]
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
def test_one_worker_goes_on_from_where_two_with_a_part_each_were(of_workers: list[dict[str, Any]], kind: str, shard: bool) -> None:
    found = of_workers[0][kind]
    model, state = learn(Group(), kind, shard=shard, state=kept(found["half"]))
    np.testing.assert_allclose(lines(state), found["log True"], rtol=1e-4)
    torch.testing.assert_close(model.state_dict(), found["weights True"], rtol=1e-3, atol=1e-4)


def test_how_steps_are_made_is_the_own_devices_affair() -> None:
    """What a GPU records its steps with is kept beside the weights, and a CPU goes on without; the other way round too."""
    run = chosen("whole", shard=False)
    before, after = (Optimiser(NextItemModel(NUM_ITEMS, run.model), run.train) for _ in range(2))
    state = before.state_dict()
    for group in state["dense"]["param_groups"]:
        group |= {"fused": True, "capturable": True, "lr": torch.tensor(0.01)}
    after.load_state_dict(state)
    ours, theirs = ([{**group, "params": []} for group in one.state_dict()["dense"]["param_groups"]] for one in (after, before))
    assert ours == theirs


def test_two_with_a_part_each_go_on_from_where_one_was(found: list[dict[str, Any]]) -> None:
    for one in found:
        np.testing.assert_allclose(one["log from one"], one["log True"], rtol=1e-4)
        torch.testing.assert_close(one["items from one"], one["weights True"]["items.weight"], rtol=1e-3, atol=1e-4)


def test_a_running_mean_of_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="shard"):
        override(get_recipe("tiny"), json.dumps({"train": {"ema_decay": 0.9, "shard": True}}))
