"""A model whose weights, gradients and optimiser's state lie in parts, one on each worker (FSDP2; Zhao et al., VLDB 2023).

Each step gathers the weights while it needs them. What is judged, kept and served is a whole model that is filled from the parts.
"""

import copy
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from lodestar.training.distributed import Group

Model = TypeVar("Model", bound=nn.Module)
WHOLE = StateDictOptions(full_state_dict=True)


def parted(model: Model, group: Group) -> Model:
    """The same weights, each worker keeping its part."""
    parts = copy.deepcopy(model)
    fully_shard(parts, mesh=init_device_mesh(group.device.type, (group.size,)))
    return parts


def gathered(parts: nn.Module, whole: nn.Module) -> None:
    """Fill a model with what the workers hold; all of them have to ask."""
    whole.load_state_dict(get_model_state_dict(parts, options=WHOLE))


def optimiser_state(parts: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """As one worker alone would keep it, by the places of weights and not by their names; all workers have to ask."""
    whole: dict[str, Any] = get_optimizer_state_dict(parts, optimiser, options=WHOLE)
    names = _names(parts, optimiser)
    groups, first = [], 0
    for ours, group in zip(optimiser.param_groups, whole["param_groups"], strict=True):
        last = first + len(ours["params"])
        groups.append({**group, "params": list(range(first, last))})
        first = last
    return {"state": {place: whole["state"][name] for place, name in enumerate(names) if name in whole["state"]}, "param_groups": groups}


def load_optimiser(parts: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take up what workers of any number have kept."""
    names = _names(parts, optimiser)
    named: dict[str, Any] = {
        "state": {names[place]: values for place, values in state["state"].items()},
        "param_groups": [{**group, "params": [names[place] for place in group["params"]]} for group in state["param_groups"]],
    }
    set_optimizer_state_dict(parts, optimiser, named, options=WHOLE)


def _names(parts: nn.Module, optimiser: torch.optim.Optimizer) -> list[str]:
    """Of the weights that the optimiser moves, in its order."""
    by_weight = {weight: name for name, weight in parts.named_parameters()}
    return [by_weight[weight] for group in optimiser.param_groups for weight in group["params"]]
