"""Optimisers: AdamW or SGD for dense weights, row-wise Adagrad for the item table, with gradient clipping."""

from typing import Any

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.training.distributed.distributed import Group, is_sharded
from lodestar.training.distributed.rowwise_adagrad import RowwiseAdagradTable

BETAS = (0.9, 0.98)
MOMENTUM = 0.9


class Optimiser:
    """Optimiser of a model: `rows` is the item table updated by row-wise Adagrad (the given one, or made here), None without it."""

    def __init__(self, model: NextItemModel, train: TrainConfig, rows: RowwiseAdagradTable | None = None) -> None:
        self.model, self.train = model, train
        self.rows = rows or (RowwiseAdagradTable(model.items.weight) if train.optimiser == "rowwise_adagrad" else None)
        model.items.weight.requires_grad_(self.rows is None)
        self.weights = [values for values in model.parameters() if values.requires_grad]
        self._dense = _dense(self.weights, train)
        self._lr_scale = 1.0

    def set_lr_scale(self, lr_scale: float) -> None:
        """Set the factor of the learning rates for the next step."""
        self._lr_scale = lr_scale
        for parameters in self._dense.param_groups:
            if isinstance(parameters["lr"], Tensor):
                parameters["lr"].fill_(self.train.learning_rate * lr_scale)
            else:
                parameters["lr"] = self.train.learning_rate * lr_scale

    def step(self, group: Group) -> None:
        """Clip gradients and update all weights; dense gradients are averaged over workers already, those of rows are averaged here."""
        gathered_rows = self.rows.gathered_rows if self.rows is not None else []
        for tensor in gathered_rows:
            if tensor.grad is not None:
                tensor.grad = group.sum(tensor.grad) / group.size
        nn.utils.clip_grad_norm_([*self.weights, *gathered_rows], self.train.max_grad_norm)
        self._dense.step()
        self._dense.zero_grad()
        if self.rows is not None:
            self.rows.step(self.train.embedding_learning_rate * self._lr_scale)

    def state_dict(self) -> dict[str, Any]:
        """Unsharded optimiser state for a checkpoint; a collective call if weights or rows are sharded."""
        mass: dict[str, Tensor] = {"mass": self.rows.state()} if self.rows is not None else {}
        if is_sharded(self.model):
            from lodestar.training.distributed.fsdp import optimiser_state

            return {"dense": optimiser_state(self.model, self._dense)}
        return {"dense": self._dense.state_dict(), **mass}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore state saved by any number of workers on any device; hyperparameters of this optimiser stay."""
        saved = state["dense"]
        groups = zip(self._dense.param_groups, saved["param_groups"], strict=True)
        dense = {
            "state": saved["state"],
            "param_groups": [{**own_group, "params": saved_group["params"]} for own_group, saved_group in groups],
        }
        if is_sharded(self.model):
            from lodestar.training.distributed.fsdp import load_optimiser

            load_optimiser(self.model, self._dense, dense)
        else:
            self._dense.load_state_dict(dense)
        if self.rows is not None:
            self.rows.load_state(state["mass"])


def _dense(weights: list[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """The dense optimiser; weight decay applies to matrices only, not to biases and norms."""
    matrices = [values for values in weights if values.ndim > 1]
    others = [values for values in weights if values.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": train.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if train.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=train.learning_rate, momentum=MOMENTUM)
    if weights[0].device.type == "cuda":
        # A captured CUDA graph reads the learning rate from the device.
        learning_rate = torch.tensor(train.learning_rate, device=weights[0].device)
        return torch.optim.AdamW([{**group, "lr": learning_rate.clone()} for group in groups], betas=BETAS, fused=True, capturable=True)
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=BETAS)
