"""Train a ranker on Feast's training set: labels of impressions and interactions with point-in-time features.

Letters in shapes: R rows, K tasks, T positions, D item inputs, F count features.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lodestar import schema
from lodestar.config import RankerConfig
from lodestar.data.split.interactions import Interactions
from lodestar.errors import ConfigError, DataError
from lodestar.features.asof.history import to_microseconds
from lodestar.models.ranker.ranker import Ranker
from lodestar.progress import Progress
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Float, Float32, Floats, Int64, Longs
from lodestar.schema.store_keys import TRAINING_SET

TASKS = (schema.LABEL, schema.BOUGHT, schema.COMPLETED, schema.RATING)
HELD_OUT = 0.1  # share of rows, the latest, held out for early stopping
COUNT_DROPOUT = 0.1  # rate of rows whose counts are zeroed, as with an empty online store


@dataclass(frozen=True, kw_only=True)
class RankerDataset:
    """Training rows by time: history as the range `start` to `end` of interactions, item, counts [R, F] and labels `labels` [R, K].

    Labels are scaled to 0–1; unknown ones are NaN.
    """

    tasks: tuple[str, ...]
    start: Int64[Longs, " rows"]
    end: Int64[Longs, " rows"]
    item: Int64[Longs, " rows"]
    counts: Float32[Floats, "rows counts"]
    labels: Float32[Floats, "rows tasks"]

    def __len__(self) -> int:
        return len(self.item)


def read(features: Path, interactions: Interactions, until: Int64[Longs, " users"]) -> RankerDataset:
    """Read the training set's rows before each user's cutoff `until` (UTC µs) [users], of items not in the user's history.

    Later rows would leak validation targets. DataError E151 without a training set, E202 for a count that is not finite, E210 if all labels
    are equal.
    """
    file = features / TRAINING_SET
    if not file.is_file():
        raise DataError("E151", f"there is no {TRAINING_SET} in {features}", remedy="Publish the features: `lodestar run` does.")
    table = pq.read_table(file)
    users, items = ({name: row for row, name in enumerate(names)} for names in (interactions.users, interactions.items))
    user = np.array([users.get(name, -1) for name in table[schema.USER_ID].to_pylist()], dtype=np.int64)
    item = np.array([items.get(name, -1) for name in table[schema.ITEM_ID].to_pylist()], dtype=np.int64)
    feature_time_us = to_microseconds(table[schema.FEATURE_TIME])
    start, end, is_new = _histories(interactions, user, item, feature_time_us)
    kept = np.flatnonzero((user >= 0) & (item >= 0) & (feature_time_us < until[user]) & is_new)
    counts = np.stack([table[name].to_numpy() for name in ranker_inputs.NAMES], axis=1)[kept].astype(np.float32)
    if not np.isfinite(counts).all():
        row, column = np.argwhere(~np.isfinite(counts))[0]
        message = f"{TRAINING_SET} has {counts[row, column]} for {ranker_inputs.NAMES[column]} in row {kept[row]}"
        raise DataError("E202", message, remedy="Build and publish the features again.")
    labels = {name: _min_max_scale(table[name].to_numpy(zero_copy_only=False).astype(np.float64)[kept]) for name in TASKS}
    tasks = tuple(name for name, values in labels.items() if len(np.unique(values[~np.isnan(values)])) > 1)
    if schema.LABEL not in tasks:
        message = f"all {len(kept)} labels to train on are equal"
        raise DataError("E210", message, remedy="Add impressions without a click, or turn the ranker off (rank.candidates 0).")
    task_labels = np.stack([labels[name] for name in tasks], axis=1).astype(np.float32)
    return RankerDataset(tasks=tasks, start=start[kept], end=end[kept], item=item[kept], counts=counts, labels=task_labels)


def train_ranker(
    rows: RankerDataset, interactions: Interactions, vectors: Float32[Floats, "items dim"], config: RankerConfig, seed: int
) -> Ranker:
    """Train a ranker with early stopping by the loss on the latest rows; the best epoch's ranker, in evaluation mode.

    ConfigError if that loss is not finite.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Ranker(vectors.shape[1], len(ranker_inputs.NAMES), len(rows.tasks), config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    table, num_held_out = torch.from_numpy(vectors), max(1, int(len(rows) * HELD_OUT))
    train_rows, validation_rows = np.arange(len(rows) - num_held_out), np.arange(len(rows) - num_held_out, len(rows))
    best, best_loss, best_epoch = model.state_dict(), np.inf, 0
    with Progress("train ranker", config.epochs) as progress:
        for epoch in range(1, config.epochs + 1):
            model.train()
            total = 0.0
            for chosen in _batches(rng.permutation(train_rows), config.batch_size):
                is_known = torch.from_numpy(rng.random(len(chosen)) >= COUNT_DROPOUT)
                loss = _loss(model, _ranker_inputs(rows, chosen, interactions, table, config.max_length, is_known), rows.labels[chosen])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += float(loss.detach()) * len(chosen)
            held_out_loss = validation_loss(model, rows, validation_rows, interactions, table, config)
            progress.advance(1, loss=total / len(train_rows), validation_loss=held_out_loss)
            if not np.isfinite(held_out_loss):
                message = f"the ranker's loss is {held_out_loss} in epoch {epoch}: lower rank.learning_rate, now {config.learning_rate}"
                raise ConfigError(message)
            if held_out_loss < best_loss:
                best, best_loss, best_epoch = {name: values.clone() for name, values in model.state_dict().items()}, held_out_loss, epoch
            elif epoch - best_epoch >= config.patience:
                break
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def validation_loss(
    model: Ranker,
    rows: RankerDataset,
    chosen: Int64[Longs, " chosen"],
    interactions: Interactions,
    table: Float[Tensor, "items dim"],
    config: RankerConfig,
) -> float:
    """Mean binary cross-entropy of the first task (the label) over these rows, in nats."""
    model.eval()
    total = 0.0
    for part in _batches(chosen, 4 * config.batch_size):
        inputs = _ranker_inputs(rows, part, interactions, table, config.max_length, torch.ones(len(part), dtype=torch.bool))
        total += float(
            functional.binary_cross_entropy_with_logits(model(*inputs)[:, 0, 0], torch.from_numpy(rows.labels[part, 0]), reduction="sum")
        )
    return total / len(chosen)


def _loss(model: Ranker, inputs: tuple[Tensor, ...], label_values_RK: Floats) -> Tensor:
    """Mean over tasks of their mean binary cross-entropy over rows with a known label."""
    labels_RK = torch.from_numpy(label_values_RK)
    is_known_RK = ~labels_RK.isnan()
    loss_RK = functional.binary_cross_entropy_with_logits(model(*inputs)[:, 0], labels_RK.nan_to_num(), reduction="none")
    return ((loss_RK * is_known_RK).sum(dim=0) / is_known_RK.sum(dim=0).clamp_min(1)).mean()


def _ranker_inputs(
    rows: RankerDataset, chosen: NDArray[np.int64], interactions: Interactions, table: Tensor, max_length: int, is_known: Tensor
) -> tuple[Tensor, ...]:
    """Ranker inputs of these rows, one candidate each: history [R, T, D], mask [R, T], candidates [R, 1, D], counts [R, 1, F]."""
    position = rows.end[chosen, None] - max_length + np.arange(max_length)
    mask = position >= rows.start[chosen, None]
    first = int(mask.any(axis=0).argmax()) if mask.any() else max_length - 1
    history = torch.from_numpy(np.where(mask, interactions.item[np.maximum(position, 0)], 0)[:, first:])
    candidates = table[torch.from_numpy(rows.item[chosen])][:, None]
    counts = torch.from_numpy(rows.counts[chosen]) * is_known[:, None]
    return table[history], torch.from_numpy(mask[:, first:]), candidates, counts[:, None]


def _histories(
    interactions: Interactions, user: NDArray[np.int64], item: NDArray[np.int64], feature_time_us: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The range of interactions that is each row's history (start, end exclusive), and whether the item is not in it, [R] each."""
    bounds = interactions.bounds()
    start, end, is_new = np.zeros(len(user), np.int64), np.zeros(len(user), np.int64), np.ones(len(user), dtype=np.bool_)
    order = np.argsort(user, kind="stable")
    user_bounds = np.searchsorted(user[order], np.arange(interactions.num_users + 1))
    for user_index in np.flatnonzero(np.diff(user_bounds)):
        rows, user_rows = order[user_bounds[user_index] : user_bounds[user_index + 1]], slice(bounds[user_index], bounds[user_index + 1])
        start[rows] = bounds[user_index]
        end[rows] = bounds[user_index] + np.searchsorted(interactions.time[user_rows], feature_time_us[rows])
        first = dict(zip(interactions.item[user_rows].tolist(), range(bounds[user_index], bounds[user_index + 1]), strict=True))
        is_new[rows] = [
            first.get(name, bounds[user_index + 1]) >= stop for name, stop in zip(item[rows].tolist(), end[rows].tolist(), strict=True)
        ]
    return start, end, is_new


def _min_max_scale(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Min-max scaling to 0–1, ignoring NaN; 0 if all values are equal."""
    known = values[~np.isnan(values)]
    low, high = known.min(initial=np.inf), known.max(initial=-np.inf)
    return (values - low) / (high - low) if high > low else values * 0


def _batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
