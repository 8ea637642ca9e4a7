"""Epoch runner: one pass over all batches with data-parallel steps, after which all workers have equal weights."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
from torch import Tensor

from lodestar.config import Recipe
from lodestar.errors import ConfigError
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.schema.arrays import Int
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.batches import BatchPlan, Windows, bucket_batches, fixed_shape_batches, gather_batch
from lodestar.training.loop.objective import Objective
from lodestar.training.optimisation.cuda_graphs import CudaGraphStep, StepInputs
from lodestar.training.optimisation.ema import WeightEMA
from lodestar.training.optimisation.negatives import Negatives, sampling_probabilities
from lodestar.training.optimisation.optimiser import Optimiser
from lodestar.training.optimisation.schedule import lr_scale

WIDTHS = (8, 16, 32, 48, 64, 96, 128, 160)  # batch widths of CUDA graphs, up to `model.max_length`


class EpochRunner:
    """Runs epochs of training steps on one model; on a single GPU with AdamW, steps are CUDA graphs of a few batch shapes."""

    def __init__(
        self, model: NextItemModel, sequences: Sequences, optimiser: Optimiser, ema: WeightEMA, recipe: Recipe, group: Group
    ) -> None:
        self.train, self.group, self.optimiser, self.ema = recipe.train, group, optimiser, ema
        uses_cuda_graphs = group.device.type == "cuda" and group.size == 1 and self.train.optimiser == "adamw"
        rates = sampling_probabilities(self.train, sequences, model.items.num_embeddings)
        # The compiled model shares the weights; validation and export use the original.
        compiled = cast(NextItemModel, torch.compile(model, dynamic=True)) if self.train.compile else model
        self.objective = group.wrap(Objective(compiled, rates, self.train, group, is_shaped=uses_cuda_graphs).to(group.device))
        self.negatives = Negatives(rates, self.train, group.size)
        self.widths = [width for width in WIDTHS if width < recipe.model.max_length] + [recipe.model.max_length] if uses_cuda_graphs else []
        self._step = CudaGraphStep(self.step) if uses_cuda_graphs else self.step
        self._items = torch.zeros(0, dtype=torch.int64, device=group.device)
        self._total = torch.zeros((), dtype=torch.float64, device=group.device)

    def epoch(self, items: Int[Tensor, " items"], windows: Windows, epochs_done: int, rng: np.random.Generator) -> tuple[float, int]:
        """Run one epoch; the mean loss per target in nats, and the number of targets. ConfigError if the loss is not finite.

        `items` are the concatenated sequences, of the same length in each epoch; `windows` index them.
        """
        self.objective.train()
        if self.widths and len(self._items) == len(items):
            self._items.copy_(items)  # CUDA graphs read them at this address
        else:
            self._items = items.clone() if self.widths else items
        self._total.zero_()
        plans = self._plan_batches(windows, rng)
        for index, (plan, inputs) in enumerate(zip(plans, self._step_inputs(plans, epochs_done << 32), strict=True)):
            self.optimiser.set_lr_scale(
                lr_scale((epochs_done + index / len(plans)) / self.train.epochs, self.train.warmup_epochs / self.train.epochs)
            )
            self.ema.begin_step()
            self._step(inputs, plan.width)
        num_targets = int(windows.count.sum())
        loss = float(self.group.sum(self._total.cpu())) / max(1, num_targets)
        if not np.isfinite(loss):
            raise ConfigError(
                f"the loss is {loss} in epoch {epochs_done + 1}: lower train.learning_rate, now {self.train.learning_rate}", code="E191"
            )
        return loss, num_targets

    def step(self, inputs: StepInputs, width: int) -> None:
        """One training step on a batch of this width; the loss is the mean over the targets of all workers."""
        begin, count = inputs.windows
        loss: Tensor = self.objective(gather_batch(self._items, begin, count, width), inputs.negatives, self.optimiser.rows)
        (loss * (self.group.size / count.sum())).backward()
        self.optimiser.step(self.group)
        self.ema.update()
        self._total += loss.detach()

    def _plan_batches(self, windows: Windows, rng: np.random.Generator) -> list[BatchPlan]:
        if self.widths:
            return fixed_shape_batches(windows, self.train.batch_tokens, self.widths, rng)
        return bucket_batches(windows, self.train.batch_tokens, rng)

    def _step_inputs(self, plans: list[BatchPlan], seed: int) -> Iterator[StepInputs]:
        """Each step's inputs on the device; windows are copied there in one transfer."""
        columns = [np.stack([plan.windows.begin, plan.windows.count]) for plan in plans]
        flat = torch.from_numpy(np.concatenate([*columns, np.zeros((2, 0), dtype=np.int64)], axis=1)).to(self.group.device)
        start = 0
        for index, plan in enumerate(plans):
            rows = len(plan.windows)
            negatives = self.negatives.sample_batch(rows, plan.width, seed + index)
            yield StepInputs(windows=flat[:, start : start + rows], negatives=negatives.to(self.group.device))
            start += rows
