"""Training loop: epochs with validation, early stopping and a checkpoint callback, resumable after each epoch.

The stage `search` trains on the training part and finds the best epoch; the stage `refit`, if the recipe has it, trains on training and
validation items for that number of epochs, without validation.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lodestar.bundle.timed_items import Seconds
from lodestar.config import Recipe, TrainConfig
from lodestar.models.closed_form.counts import Sequences, Weights
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.progress import Progress
from lodestar.schema.arrays import Int64, UInt8
from lodestar.training.distributed.distributed import Group
from lodestar.training.distributed.rowwise_adagrad import RowwiseAdagradTable
from lodestar.training.distributed.sharded_embedding import ShardedItemTable, uses_row_sharding
from lodestar.training.loop.batches import cut_windows
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.loop.epoch_runner import EpochRunner
from lodestar.training.loop.order_jitter import GapClasses, OrderJitter
from lodestar.training.loop.validation import Quality
from lodestar.training.optimisation.ema import WeightEMA
from lodestar.training.optimisation.optimiser import Optimiser


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Inputs of one training stage besides the model: sequences, number of epochs, validation (None for none) and epoch callback.

    `gap_classes` has the class of the time gap before each item (see `order_jitter`); `gaps` the seconds, for time-aware models. `weights`
    are how much each item says, and `refused` the items that users refused, by user; empty where they say nothing.
    """

    name: str
    sequences: Sequences
    gap_classes: Sequence[UInt8[GapClasses, "_"]]
    last_epoch: int
    validate: Callable[[NextItemModel | ShardedItemTable], Quality] | None
    on_epoch_end: Callable[[TrainingState], None]
    gaps: Sequence[Int64[Seconds, "_"]] | None = None
    weights: Weights = ()
    refused: Sequences = ()


def fit(model: NextItemModel, stage: Stage, recipe: Recipe, group: Group, state: TrainingState) -> TrainingState:
    """Train a stage, resuming from `state`; the model ends with the best epoch's weights (the last one's without validation)."""
    train = recipe.train
    if state.epoch > 0:
        model.load_state_dict(state.model)
    local = _local_model(model, train, group)
    optimiser, ema = Optimiser(local.model, train, local.rows), WeightEMA(model, train.ema_decay)
    if state.epoch > 0:
        optimiser.load_state_dict(state.optimiser)
        ema.load_state_dict(state.ema)
    order = OrderJitter(stage.sequences, stage.gap_classes, train.order_jitter, group.device, stage.gaps, stage.weights, stage.refused)
    runner = EpochRunner(local.model, stage.sequences, optimiser, ema, recipe, group)
    with Progress(f"train {stage.name}", stage.last_epoch, state.epoch) as progress:
        while state.epoch < stage.last_epoch and not _has_stalled(state, train):
            started, cpu_started = time.monotonic(), time.process_time()
            rng = np.random.default_rng([train.seed, state.epoch])
            torch.manual_seed(int(rng.integers(1 << 62)) + group.rank)
            items = order.jittered(rng)
            loss, num_targets = runner.epoch(items, cut_windows(order.lengths, recipe.model.max_length, rng), state.epoch, rng)
            local.gather()
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
            with ema.swapped():
                line |= _validate(model, local.validated, stage, train, state)
            state.log.append({"stage": stage.name, **line})
            state.model, state.optimiser, state.ema = model.state_dict(), optimiser.state_dict(), ema.state_dict()
            stage.on_epoch_end(state)
            group.wait()  # until rank zero has saved
            progress.advance(1, **line)
    ema.apply()
    model.load_state_dict(state.best or model.state_dict())
    return state


@dataclass(frozen=True, kw_only=True)
class _LocalModel:
    """The model that steps update on this worker: the full model or a shard of it.

    `gather` copies it into the full model; `validated` is the model that validation scores; `rows` is the sharded item table.
    """

    model: NextItemModel
    validated: NextItemModel | ShardedItemTable
    gather: Callable[[], None]
    rows: RowwiseAdagradTable | None = None


def _local_model(model: NextItemModel, train: TrainConfig, group: Group) -> _LocalModel:
    if not train.shard or group.size == 1:
        return _LocalModel(model=model, validated=model, gather=lambda: None)
    if uses_row_sharding(train, group):
        table = ShardedItemTable(model, group)
        return _LocalModel(model=table.local_model, validated=table, gather=table.gather, rows=table.rows)
    from lodestar.training.distributed.fsdp import gather_full_weights, shard_model

    parts = shard_model(model, group)
    return _LocalModel(model=parts, validated=model, gather=lambda: gather_full_weights(parts, model))


def _validate(
    model: NextItemModel, validated: NextItemModel | ShardedItemTable, stage: Stage, train: TrainConfig, state: TrainingState
) -> dict[str, float]:
    due = state.epoch % train.validate_every == 0 or state.epoch == stage.last_epoch
    if stage.validate is None or not due:
        return {}
    quality = stage.validate(validated)
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


def _has_stalled(state: TrainingState, train: TrainConfig) -> bool:
    return state.best_epoch > 0 and state.epoch - state.best_epoch >= train.patience * train.validate_every
