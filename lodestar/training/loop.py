"""The training loop: epochs until validation stops getting better, resumable after each of them.

A stage is a loop of its own: `search` learns from the training part and finds the best epoch; `refit`, where a recipe asks for it, learns
from the validation items too and stops at that epoch, unseen by anyone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lodestar.config import Recipe, TrainConfig
from lodestar.data.gaps import Seconds
from lodestar.models.counts import Sequences
from lodestar.models.next_item import NextItem
from lodestar.progress import Progress
from lodestar.training.average import Average
from lodestar.training.batches import cut
from lodestar.training.checkpoints import State
from lodestar.training.distributed import Group
from lodestar.training.optimiser import Optimiser
from lodestar.training.order import Order, Steps
from lodestar.training.parted_table import PartedTable, is_wanted
from lodestar.training.rows import RowTable
from lodestar.training.teacher import Teacher
from lodestar.training.validation import Quality


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one loop needs beside the model: `last_epoch` ends it, `judge` None means there is nothing to validate on.

    `steps` say how the items of each sequence lie from one another (see `training.order`), `gaps` how long after one another they came, for
    a model that looks at time.
    """

    name: str
    sequences: Sequences
    steps: Sequence[Steps]
    last_epoch: int
    judge: Callable[[NextItem | PartedTable], Quality] | None
    keep: Callable[[State], None]
    gaps: Sequence[Seconds] | None = None


def fit(model: NextItem, stage: Stage, recipe: Recipe, group: Group, state: State) -> State:
    """Train on from `state`; the model ends with the best epoch's weights (the last one's where nothing is judged)."""
    train = recipe.train
    if state.epoch > 0:
        model.load_state_dict(state.model)
    taught = _taught(model, train, group)
    optimiser, average = Optimiser(taught.model, train, taught.rows), Average(model, train.average)
    if state.epoch > 0:
        optimiser.load_state_dict(state.optimiser)
        average.load_state_dict(state.average)
    order = Order(stage.sequences, stage.steps, train.order_jitter, group.device, stage.gaps)
    teacher = Teacher(taught.model, stage.sequences, optimiser, average, recipe, group)
    with Progress(f"train {stage.name}", stage.last_epoch) as progress:
        progress.advance(state.epoch)
        while state.epoch < stage.last_epoch and not _has_stalled(state, train):
            started, cpu_started = time.monotonic(), time.process_time()
            chance = np.random.default_rng([train.seed, state.epoch])
            torch.manual_seed(int(chance.integers(1 << 62)) + group.rank)
            items = order.jittered(chance)
            loss, num_targets = teacher.epoch(items, cut(order.lengths, recipe.model.max_length, chance), state.epoch, chance)
            taught.gather()
            state.epoch += 1
            seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
            line = {
                "epoch": state.epoch,
                "loss": loss,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "samples": num_targets,
                "samples_per_s": num_targets / seconds,
            }
            with average.in_place():
                line |= _validate(model, taught.judged, stage, train, state)
            state.log.append({"stage": stage.name, **line})
            state.model, state.optimiser, state.average = model.state_dict(), optimiser.state_dict(), average.state_dict()
            stage.keep(state)
            progress.advance(1, **line)
    average.settle()
    model.load_state_dict(state.best or model.state_dict())
    return state


@dataclass(frozen=True, kw_only=True)
class _Taught:
    """What steps move: the model itself, or parts of it. `gather` brings the model up to that, `judged` is asked between epochs."""

    model: NextItem
    judged: NextItem | PartedTable
    gather: Callable[[], None]
    rows: RowTable | None = None


def _taught(model: NextItem, train: TrainConfig, group: Group) -> _Taught:
    if not train.shard or group.size == 1:
        return _Taught(model=model, judged=model, gather=lambda: None)
    if is_wanted(train, group):
        table = PartedTable(model, group)
        return _Taught(model=table.taught, judged=table, gather=table.gather, rows=table.rows)
    from lodestar.training.sharded import gathered, parted

    parts = parted(model, group)
    return _Taught(model=parts, judged=model, gather=lambda: gathered(parts, model))


def _validate(model: NextItem, judged: NextItem | PartedTable, stage: Stage, train: TrainConfig, state: State) -> dict[str, float]:
    due = state.epoch % train.validate_every == 0 or state.epoch == stage.last_epoch
    if stage.judge is None or not due:
        return {}
    quality = stage.judge(judged)
    if quality.ndcg > state.best_ndcg:
        state.best_ndcg, state.best_epoch = quality.ndcg, state.epoch
        state.best = {name: values.detach().clone() for name, values in model.state_dict().items()}
    return {
        "hit_rate_at_10": quality.hit_rate,
        "ndcg_at_10": quality.ndcg,
        "accuracy": quality.accuracy,
        "base_rate": quality.base_rate,
        "auc": quality.auc,
    }


def _has_stalled(state: State, train: TrainConfig) -> bool:
    return state.best_epoch > 0 and state.epoch - state.best_epoch >= train.patience * train.validate_every
