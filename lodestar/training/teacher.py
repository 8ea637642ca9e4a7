"""One pass over windows, step by step; every worker takes its rows of each batch and all end with the same weights."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lodestar.config import Recipe
from lodestar.errors import ConfigError
from lodestar.models.counts import Sequences
from lodestar.models.next_item import NextItem
from lodestar.training.average import Average
from lodestar.training.batches import Pack, Windows, gathered, packs, shaped_packs
from lodestar.training.distributed import Group
from lodestar.training.negatives import Negatives, rates_of
from lodestar.training.objective import Objective
from lodestar.training.optimiser import Optimiser
from lodestar.training.replay import Given, Replay
from lodestar.training.schedule import rate

WIDTHS = (8, 16, 32, 48, 64, 96, 128, 160)  # of recorded steps, up to `model.max_length`


class Teacher:
    """What moves the weights of one model; on a GPU of its own by steps of few shapes that are recorded."""

    def __init__(self, model: NextItem, sequences: Sequences, optimiser: Optimiser, average: Average, recipe: Recipe, group: Group) -> None:
        self.train, self.group, self.optimiser, self.average = recipe.train, group, optimiser, average
        is_recorded = group.device.type == "cuda" and group.size == 1 and self.train.optimiser == "adamw"
        rates = rates_of(self.train, sequences, model.items.num_embeddings)
        # What is compiled shares the weights; the model itself stays as it is for validation and export.
        taught = cast(NextItem, torch.compile(model, dynamic=True)) if self.train.compile else model
        self.objective = group.wrap(Objective(taught, rates, self.train, group, is_shaped=is_recorded).to(group.device))
        self.negatives = Negatives(rates, self.train, group.size)
        self.widths = [width for width in WIDTHS if width < recipe.model.max_length] + [recipe.model.max_length] if is_recorded else []
        self._step = Replay(self.step) if is_recorded else self.step
        self._items = torch.zeros(0, dtype=torch.int64, device=group.device)
        self._total = torch.zeros((), dtype=torch.float64, device=group.device)

    def epoch(self, items: Tensor, windows: Windows, epochs_done: int, chance: np.random.Generator) -> tuple[float, int]:
        """The mean loss per target, in nats, and the number of targets; ConfigError where the loss is no longer a number.

        `items` are those of all sequences, one after another, and have the same length each time.
        """
        self.objective.train()
        if self.widths and len(self._items) == len(items):
            self._items.copy_(items)  # recorded steps read them there
        else:
            self._items = items.clone() if self.widths else items
        self._total.zero_()
        made = self._packs(windows, chance)
        for done, (pack, given) in enumerate(zip(made, self._given(made, epochs_done << 32), strict=True)):
            self.optimiser.slow(rate((epochs_done + done / len(made)) / self.train.epochs, self.train.warmup_epochs / self.train.epochs))
            self.average.count()
            self._step(given, pack.width)
        num_targets = int(windows.count.sum())
        loss = float(self.group.sum(self._total.cpu())) / max(1, num_targets)
        if not np.isfinite(loss):
            raise ConfigError(f"the loss is {loss} in epoch {epochs_done + 1}: lower train.learning_rate, now {self.train.learning_rate}")
        return loss, num_targets

    def step(self, given: Given, width: int) -> None:
        """Gradients are averaged over workers, and a step's loss is the mean over the targets of all of them."""
        begin, count = given.windows
        loss: Tensor = self.objective(gathered(self._items, begin, count, width), given.negatives, self.optimiser.rows)
        (loss * (self.group.size / count.sum())).backward()
        self.optimiser.step(self.group)
        self.average.follow()
        self._total += loss.detach()

    def _packs(self, windows: Windows, chance: np.random.Generator) -> list[Pack]:
        if self.widths:
            return shaped_packs(windows, self.train.batch_tokens, self.widths, chance)
        return packs(windows, self.train.batch_tokens, chance)

    def _given(self, made: list[Pack], seed: int) -> Iterator[Given]:
        """What each step is given, on the device: windows are moved there all at once."""
        columns = [np.stack([pack.windows.begin, pack.windows.count]) for pack in made]
        flat = torch.from_numpy(np.concatenate([*columns, np.zeros((2, 0), dtype=np.int64)], axis=1)).to(self.group.device)
        start = 0
        for done, pack in enumerate(made):
            rows = len(pack.windows)
            negatives = self.negatives.of(rows, pack.width, seed + done)
            yield Given(windows=flat[:, start : start + rows], negatives=negatives.to(self.group.device))
            start += rows
