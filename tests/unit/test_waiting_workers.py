"""What rank zero does alone may take longer than a collective of the group may: the other workers wait for it."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

from torch import distributed, multiprocessing

from lodestar.config import override
from lodestar.recipes import get_recipe
from lodestar.training import run, stages
from lodestar.training.distributed.distributed import process_group
from lodestar.training.loop.checkpoints import Checkpoints
from tests.cycles import features
from tests.ports import free_port

TIMEOUT, LONGER_S = timedelta(seconds=2), 2.5
WORKERS = 2


def at_length(work: Callable[..., Any]) -> Callable[..., Any]:
    """The same work, longer than the group's timeout."""

    def lasting(*arguments: Any, **options: Any) -> Any:
        Event().wait(LONGER_S)
        return work(*arguments, **options)

    return lasting


class LongRanker:
    """A ranker's trainer that takes long to learn."""

    def learn(self, *_arguments: Any) -> dict[str, Any]:
        Event().wait(LONGER_S)
        return {}


def work(rank: int, port: int, folder: str) -> None:
    """One worker's part: whatever rank zero does alone takes longer than the group's timeout."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(WORKERS)}
    if rank == 0:
        for place, name in ((run, "_publish"), (Checkpoints, "save"), (Checkpoints, "load")):
            setattr(place, name, at_length(getattr(place, name)))
        stages.Training._ranker_trainer = lambda _self: LongRanker()  # type: ignore[method-assign, assignment, return-value]
    recipe = override(get_recipe("tiny"), json.dumps({"train": {"epochs": 1, "refit": True, "batch_tokens": 128}}))
    with process_group("cpu") as group:
        distributed.distributed_c10d._set_pg_timeout(TIMEOUT)  # in place of the 10 minutes of NCCL
        run.work(Path(folder, "features"), Path(folder, "bundle"), recipe, str(Path(folder, "checkpoints")), group)


def test_workers_wait_for_rank_zero_longer_than_for_a_collective(tmp_path: Path) -> None:
    features(tmp_path / "features")
    multiprocessing.spawn(work, args=(free_port(), str(tmp_path)), nprocs=WORKERS)  # type: ignore[attr-defined, no-untyped-call]
    assert (tmp_path / "bundle" / "bundle.json").is_file()
