"""What moves the weights: AdamW or SGD for all of them, or rows of the item table by themselves."""

from typing import Any

import torch
from torch import Tensor, nn

from lodestar.config import TrainConfig
from lodestar.models.next_item import NextItem
from lodestar.training.distributed import Group, is_parted
from lodestar.training.rows import RowTable

BETAS = (0.9, 0.98)
MOMENTUM = 0.9


class Optimiser:
    """One step of all weights; `rows` is the item table where only its named rows move, else None: the given one, or one of its own."""

    def __init__(self, model: NextItem, train: TrainConfig, rows: RowTable | None = None) -> None:
        self.model, self.train = model, train
        self.rows = rows or (RowTable(model.items.weight) if train.optimiser == "rowwise_adagrad" else None)
        model.items.weight.requires_grad_(self.rows is None)
        self.weights = [values for values in model.parameters() if values.requires_grad]
        self._dense = _dense(self.weights, train)
        self._share = 1.0

    def slow(self, share: float) -> None:
        """Before a step: the share of the full rate that it goes at."""
        self._share = share
        for parameters in self._dense.param_groups:
            if isinstance(parameters["lr"], Tensor):
                parameters["lr"].fill_(self.train.learning_rate * share)
            else:
                parameters["lr"] = self.train.learning_rate * share

    def step(self, group: Group) -> None:
        """Move by gradients that workers have averaged already, but for those of rows."""
        lent = self.rows.lent if self.rows is not None else []
        for tensor in lent:
            if tensor.grad is not None:
                tensor.grad = group.sum(tensor.grad) / group.size
        nn.utils.clip_grad_norm_([*self.weights, *lent], self.train.largest_gradient)
        self._dense.step()
        self._dense.zero_grad()
        if self.rows is not None:
            self.rows.step(self.train.row_rate * self._share)

    def state_dict(self) -> dict[str, Any]:
        mass: dict[str, Tensor] = {"mass": self.rows.kept()} if self.rows is not None else {}
        if is_parted(self.model):
            from lodestar.training.sharded import optimiser_state

            return {"dense": optimiser_state(self.model, self._dense)}
        return {"dense": self._dense.state_dict(), **mass}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what any number of workers have kept, on whichever device: how steps are made here stays as it is."""
        kept = state["dense"]
        groups = zip(self._dense.param_groups, kept["param_groups"], strict=True)
        dense = {"state": kept["state"], "param_groups": [{**here, "params": there["params"]} for here, there in groups]}
        if is_parted(self.model):
            from lodestar.training.sharded import load_optimiser

            load_optimiser(self.model, self._dense, dense)
        else:
            self._dense.load_state_dict(dense)
        if self.rows is not None:
            self.rows.take_up(state["mass"])


def _dense(weights: list[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """Decay pulls matrices only: a smaller bias or norm says nothing simpler."""
    matrices = [values for values in weights if values.ndim > 1]
    others = [values for values in weights if values.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": train.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if train.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=train.learning_rate, momentum=MOMENTUM)
    if weights[0].device.type == "cuda":
        # What a recorded step reads must be on the device, the rate too.
        rate = torch.tensor(train.learning_rate, device=weights[0].device)
        return torch.optim.AdamW([{**group, "lr": rate.clone()} for group in groups], betas=BETAS, fused=True, capturable=True)
    return torch.optim.AdamW(groups, lr=train.learning_rate, betas=BETAS)
