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
    """As one worker alone would keep it; all of them have to ask."""
    return get_optimizer_state_dict(parts, optimiser, options=WHOLE)


def load_optimiser(parts: nn.Module, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    set_optimizer_state_dict(parts, optimiser, state, options=WHOLE)
