"""Teaching a ranker: from Feast's training set, what was shown or taken at a moment beside what was known then.

Letters in shapes: R rows, K tasks, T places, D numbers of an item, F counts.
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
from lodestar.config import RankConfig
from lodestar.data.interactions import Interactions
from lodestar.errors import DataError
from lodestar.features.history import microseconds
from lodestar.models.ranker import Ranker
from lodestar.progress import Progress
from lodestar.schema import pairs
from lodestar.schema.places import TRAINING_SET

TASKS = (schema.LABEL, schema.BOUGHT, schema.COMPLETED, schema.RATING)
HELD_OUT = 0.1  # of the rows, the latest, say when to stop
UNKNOWN = 0.1  # how often a row's counts are left out, as they are where a store is empty

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """In order of time: `start` and `end` of the history among interactions, the item, counts [R, F] and answers [R, K] in 0–1.

    An answer that is not known is NaN.
    """

    tasks: tuple[str, ...]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    item: NDArray[np.int64]
    counts: Floats
    answers: Floats

    def __len__(self) -> int:
        return len(self.item)


def read(features: Path, taken: Interactions, until: NDArray[np.int64]) -> Rows:
    """The training set's rows of before each user's last moment (UTC µs) to learn from, of items that were new to the user.

    DataError E151 where it was not made, E107 where a count is no finite number, E210 where everything or nothing was taken up.
    """
    file = features / TRAINING_SET
    if not file.is_file():
        raise DataError("E151", f"there is no {TRAINING_SET} in {features}", remedy="Publish the features: `lodestar run` does.")
    table = pq.read_table(file)
    users, items = ({name: row for row, name in enumerate(names)} for names in (taken.users, taken.items))
    user = np.array([users.get(name, -1) for name in table[schema.USER_ID].to_pylist()], dtype=np.int64)
    item = np.array([items.get(name, -1) for name in table[schema.ITEM_ID].to_pylist()], dtype=np.int64)
    moment = microseconds(table[schema.FEATURE_TIME])
    start, end, is_new = _histories(taken, user, item, moment)
    kept = np.flatnonzero((user >= 0) & (item >= 0) & (moment < until[user]) & is_new)
    counts = np.stack([table[name].to_numpy() for name in pairs.NAMES], axis=1)[kept].astype(np.float32)
    if not np.isfinite(counts).all():
        row, column = np.argwhere(~np.isfinite(counts))[0]
        message = f"{TRAINING_SET} has {counts[row, column]} for {pairs.NAMES[column]} in row {kept[row]}"
        raise DataError("E107", message, remedy="Build and publish the features again.")
    answers = {name: _shares(table[name].to_numpy(zero_copy_only=False).astype(np.float64)[kept]) for name in TASKS}
    tasks = tuple(name for name, values in answers.items() if len(np.unique(values[~np.isnan(values)])) > 1)
    if schema.LABEL not in tasks:
        message = f"all {len(kept)} labels to learn from are the same"
        raise DataError("E210", message, remedy="Bring what was shown and not taken too, or leave the ranker out (rank.candidates 0).")
    found = np.stack([answers[name] for name in tasks], axis=1).astype(np.float32)
    return Rows(tasks=tasks, start=start[kept], end=end[kept], item=item[kept], counts=counts, answers=found)


def learnt(rows: Rows, taken: Interactions, vectors: Floats, config: RankConfig, seed: int) -> Ranker:
    """A ranker after the epoch whose answers to the latest rows were best."""
    chance = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Ranker(vectors.shape[1], len(pairs.NAMES), len(rows.tasks), config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    table, held = torch.from_numpy(vectors), max(1, int(len(rows) * HELD_OUT))
    lesson, exam = np.arange(len(rows) - held), np.arange(len(rows) - held, len(rows))
    best, best_loss, best_epoch = model.state_dict(), np.inf, 0
    with Progress("train ranker", config.epochs) as progress:
        for epoch in range(1, config.epochs + 1):
            model.train()
            total = 0.0
            for chosen in _parts(chance.permutation(lesson), config.batch_rows):
                is_known = torch.from_numpy(chance.random(len(chosen)) >= UNKNOWN)
                loss = _loss(model, _asked(rows, chosen, taken, table, config.max_length, is_known), rows.answers[chosen])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                total += float(loss.detach()) * len(chosen)
            loss_held = judged(model, rows, exam, taken, table, config)
            progress.advance(1, loss=total / len(lesson), held_out_loss=loss_held)
            if loss_held < best_loss:
                best, best_loss, best_epoch = {name: values.clone() for name, values in model.state_dict().items()}, loss_held, epoch
            elif epoch - best_epoch >= config.patience:
                break
    model.load_state_dict(best)
    return model.eval()


@torch.no_grad()
def judged(model: Ranker, rows: Rows, chosen: NDArray[np.int64], taken: Interactions, table: Tensor, config: RankConfig) -> float:
    """The mean loss of the first task."""
    model.eval()
    total = 0.0
    for part in _parts(chosen, 4 * config.batch_rows):
        asked = _asked(rows, part, taken, table, config.max_length, torch.ones(len(part), dtype=torch.bool))
        total += float(
            functional.binary_cross_entropy_with_logits(model(*asked)[:, 0, 0], torch.from_numpy(rows.answers[part, 0]), reduction="sum")
        )
    return total / len(chosen)


def _loss(model: Ranker, asked: tuple[Tensor, ...], answers_RK: Floats) -> Tensor:
    """The mean over tasks of their mean loss where the answer is known."""
    wanted_RK = torch.from_numpy(answers_RK)
    is_known_RK = ~wanted_RK.isnan()
    loss_RK = functional.binary_cross_entropy_with_logits(model(*asked)[:, 0], wanted_RK.nan_to_num(), reduction="none")
    return ((loss_RK * is_known_RK).sum(dim=0) / is_known_RK.sum(dim=0).clamp_min(1)).mean()


def _asked(
    rows: Rows, chosen: NDArray[np.int64], taken: Interactions, table: Tensor, max_length: int, is_known: Tensor
) -> tuple[Tensor, ...]:
    """History, mask, candidate and counts of some rows, one candidate each."""
    places = rows.end[chosen, None] - max_length + np.arange(max_length)
    mask = places >= rows.start[chosen, None]
    first = int(mask.any(axis=0).argmax()) if mask.any() else max_length - 1
    history = torch.from_numpy(np.where(mask, taken.item[np.maximum(places, 0)], 0)[:, first:])
    candidates = table[torch.from_numpy(rows.item[chosen])][:, None]
    counts = torch.from_numpy(rows.counts[chosen]) * is_known[:, None]
    return table[history], torch.from_numpy(mask[:, first:]), candidates, counts[:, None]


def _histories(
    taken: Interactions, user: NDArray[np.int64], item: NDArray[np.int64], moment: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Where each row's history starts and ends among interactions, and whether the item is not in it."""
    bounds = taken.bounds()
    start, end, is_new = np.zeros(len(user), np.int64), np.zeros(len(user), np.int64), np.ones(len(user), dtype=np.bool_)
    order = np.argsort(user, kind="stable")
    edges = np.searchsorted(user[order], np.arange(taken.num_users + 1))
    for one in np.flatnonzero(np.diff(edges)):
        rows, own = order[edges[one] : edges[one + 1]], slice(bounds[one], bounds[one + 1])
        start[rows], end[rows] = bounds[one], bounds[one] + np.searchsorted(taken.time[own], moment[rows])
        first = dict(zip(taken.item[own].tolist(), range(bounds[one], bounds[one + 1]), strict=True))
        is_new[rows] = [
            first.get(name, bounds[one + 1]) >= stop for name, stop in zip(item[rows].tolist(), end[rows].tolist(), strict=True)
        ]
    return start, end, is_new


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values between the lowest and the highest, as a share of the way."""
    known = values[~np.isnan(values)]
    low, high = known.min(initial=np.inf), known.max(initial=-np.inf)
    return (values - low) / (high - low) if high > low else values * 0


def _parts(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
