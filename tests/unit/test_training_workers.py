"""Two workers learn what one does, however they keep the weights, and leave a bundle as good."""

import json
from pathlib import Path
from typing import Any

import pytest

from lodestar.bundle import bundle
from lodestar.bundle.bundle import EPOCHS_LOG
from lodestar.config import Recipe, override
from lodestar.recipes import get_recipe
from tests.cycles import features
from tests.forked_workers import call_preloaded, fork_workers

ROWS = {"optimiser": "rowwise_adagrad", "loss": "bce", "embedding_learning_rate": 0.3}
# What one worker learns, and two: whole models on each, a part of one on each, and rows of items on each.
RUNS: dict[str, tuple[int, dict[str, Any]]] = {
    "one": (1, {}),
    "two": (2, {}),
    "two, sharded": (2, {"shard": True}),
    "one by rows": (1, ROWS),
    "two by rows": (2, ROWS),
}


def recipe(workers: int, train: dict[str, Any]) -> Recipe:
    """Without dropout, of which every worker draws its own."""
    short = {"epochs": 2, "refit": True, "item_init": "cooccurrence", "batch_tokens": 128, "workers": workers, **train}
    return override(get_recipe("tiny"), json.dumps({"train": short, "model": {"dropout": 0.0, "num_neighbours": 4}}))


def train_all(folder: Path) -> None:
    for name, (workers, _) in RUNS.items():
        fork_workers(workers, train, folder, name)


def train(folder: Path, name: str) -> None:
    """One worker's part: it has torch, and who looks at the bundles does without."""
    from lodestar.training import run

    run.train(folder / "features", folder / name, recipe(*RUNS[name]), str(folder / f"checkpoints of {name}"))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    features(folder / "features")
    call_preloaded(train_all, folder)
    return folder


@pytest.mark.parametrize(("alone", "together"), [("one", "two"), ("one", "two, sharded"), ("one by rows", "two by rows")])
def test_two_workers_are_as_good_as_one(bundles: Path, alone: str, together: str) -> None:
    one, two = (bundle.load(bundles / name).info.metrics["validation_ndcg_at_10"] for name in (alone, together))
    assert two == pytest.approx(one, abs=0.05)


@pytest.mark.parametrize("together", ["two", "two, sharded"])
def test_two_workers_have_the_losses_of_one(bundles: Path, together: str) -> None:
    """But for those who draw their own negatives, as binary cross-entropy does."""
    assert losses(bundles / together) == losses(bundles / "one")


def losses(root: Path) -> list[tuple[str, Any]]:
    log = [json.loads(line) for line in (root / EPOCHS_LOG).read_text().splitlines()]
    return [(line["stage"], pytest.approx(line["loss"], rel=1e-4)) for line in log]
