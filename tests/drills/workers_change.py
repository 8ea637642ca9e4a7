"""A run whose number of workers changes from epoch to epoch learns what an unbroken one learns: batch and rate are a whole step's."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lodestar.training.distributed.distributed import Group, process_group
from lodestar.training.loop.checkpoints import Checkpoints, TrainingState
from tests.forked_workers import call_preloaded, fork_workers
from tests.unit.test_fsdp import EPOCHS, KINDS, learn, lines

WAYS = [(kind, shard) for kind in KINDS for shard in (True, False)]
COUNTS = ((2, 1, 3), (1, 3, 2), (3, 2, 1), (1, 2, 3))
NEARLY = 1e-3


def drill(seed: int, cases: int) -> dict[str, object]:
    """Of each case: one way to keep weights, and in each epoch another number of gloo workers; the greatest difference of a loss."""
    chosen = [(*WAYS[(seed + case) % len(WAYS)], COUNTS[(seed + case + case // len(WAYS)) % len(COUNTS)]) for case in range(cases)]
    with tempfile.TemporaryDirectory() as folder:
        call_preloaded(_all, folder, chosen)
        worst = 0.0
        for case, (kind, shard, counts) in enumerate(chosen):
            ours, theirs = (lines(_loaded(Path(folder, f"{case}", name))) for name in ("changed", "unbroken"))
            assert len(ours) == EPOCHS
            np.testing.assert_allclose(ours, theirs, rtol=NEARLY, err_msg=f"{kind}, shard {shard}, workers {counts}")
            worst = max(worst, *(abs(one[0] - other[0]) for one, other in zip(ours, theirs, strict=True)))
    return {"worst_loss_difference": float(f"{worst:.2g}")}


def _all(folder: str, chosen: Sequence[tuple[str, bool, Sequence[int]]]) -> None:
    for case, (kind, shard, counts) in enumerate(chosen):
        for epoch, count in enumerate(counts, start=1):
            _together(count, f"{folder}/{case}/changed", kind, shard, epoch)
        _together(1, f"{folder}/{case}/unbroken", kind, shard, EPOCHS)


def _together(count: int, *what: Any) -> None:
    """One epoch by so many workers, which find the state in a checkpoint and leave it there."""
    fork_workers(count, _work, *what)


def _work(*what: Any) -> None:
    with process_group("cpu") as group:
        _step(group, *what)


def _step(group: Group, folder: str, kind: str, shard: bool, last_epoch: int) -> None:
    _, state = learn(group, kind, shard=shard, state=_loaded(Path(folder)), last_epoch=last_epoch)
    if group.is_rank_zero:
        _kept(Path(folder)).save(state)


def _loaded(folder: Path) -> TrainingState:
    kept = _kept(folder)
    content = kept.load()
    return kept.decode(content) if content is not None else TrainingState(stage="search")


def _kept(folder: Path) -> Checkpoints:
    return Checkpoints(address=str(folder), run="one")
