"""Fully sharded data parallel training: weights, gradients and optimiser state sharded over workers (FSDP2; Zhao et al., VLDB 2023).

Paper: "PyTorch FSDP", arXiv:2304.11277. Each step gathers weights while it needs them. Validation, checkpoints and export use a full model
that is filled from the shards.
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

from lodestar.training.distributed.distributed import Group

Model = TypeVar("Model", bound=nn.Module)
WHOLE = StateDictOptions(full_state_dict=True)


def shard_model(model: Model, group: Group) -> Model:
    """A copy of the model with weights sharded over the workers of `group`."""
    parts = copy.deepcopy(model)
    fully_shard(parts, mesh=init_device_mesh(group.device.type, (group.size,)))
    return parts


def gather_full_weights(parts: nn.Module, whole: nn.Module) -> None:
    """Copy all shards into the full model `whole`; a collective call on all workers."""
    whole.load_state_dict(get_model_state_dict(parts, options=WHOLE))


def optimiser_state(parts: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Unsharded optimiser state in the format of a single worker (by parameter index, not name); a collective call on all workers."""
    whole: dict[str, Any] = get_optimizer_state_dict(parts, optimiser, options=WHOLE)
    names = _parameter_names(parts, optimiser)
    groups, first = [], 0
    for own_group, group in zip(optimiser.param_groups, whole["param_groups"], strict=True):
        last = first + len(own_group["params"])
        groups.append({**group, "params": list(range(first, last))})
        first = last
    return {"state": {index: whole["state"][name] for index, name in enumerate(names) if name in whole["state"]}, "param_groups": groups}


def load_optimiser(parts: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load unsharded optimiser state, saved by any number of workers, into the sharded optimiser."""
    names = _parameter_names(parts, optimiser)
    named: dict[str, Any] = {
        "state": {names[index]: values for index, values in state["state"].items()},
        "param_groups": [{**group, "params": [names[index] for index in group["params"]]} for group in state["param_groups"]],
    }
    set_optimizer_state_dict(parts, optimiser, named, options=WHOLE)


def _parameter_names(parts: nn.Module, optimiser: torch.optim.Optimizer) -> list[str]:
    """Names of the optimiser's parameters, in its order."""
    by_weight = {weight: name for name, weight in parts.named_parameters()}
    return [by_weight[weight] for group in optimiser.param_groups for weight in group["params"]]
