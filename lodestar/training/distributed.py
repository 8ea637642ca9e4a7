"""Several workers that act as one: each takes a share of every batch, and gradients and sums are joined.

Workers are started by torchrun, on one machine or as the pods of a PyTorchJob; it sets the environment that `from_environment` reads.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from lodestar.config import Device
from lodestar.errors import EnvironmentFault

MEETING = timedelta(minutes=2)  # they start together; what they download comes after


@dataclass(frozen=True, kw_only=True)
class Group:
    """The place of this process among `size` workers, and the device it computes on."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this worker speaks for all: it writes checkpoints, log and bundle."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The element-wise sum over all workers, on all of them."""
        if self.size > 1:
            shared = values.to(self.device)
            distributed.all_reduce(shared)
            return shared.to(values.device)
        return values

    def from_leader(self, content: bytes | None) -> bytes | None:
        """What the leader holds, on all workers; the others' argument is ignored."""
        if self.size == 1:
            return content
        box = [content]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The same module with gradients averaged over workers; a part of one averages its own.

        All have built the same weights by themselves, but for rows of a table that each has its own of: there is nothing to send.
        """
        if self.size == 1 or is_parted(objective):
            return objective
        return nn.parallel.DistributedDataParallel(objective, init_sync=False)


def meet() -> None:
    """Wait for all workers that torchrun started together; EnvironmentFault E536 where one of them does not come.

    When rank zero of a job is lost, another may have just joined the dying one, and would wait for half an hour for a group that is gone
    while the new rank zero waits for it. Ended soon, it is started anew and joins that one. Rank zero answers each by what that one said
    of itself, so that nobody takes an answer to somebody before it for its own.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    place = f"meeting/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        store = distributed.TCPStore(*where, is_master=False, timeout=MEETING)  # type: ignore[attr-defined]
        if rank == 0:
            _greet(store, [f"{place}/{other}" for other in range(1, size)])
        else:
            _come(store, f"{place}/{rank}")
    except distributed.DistError as error:
        message = f"worker {rank} waited {MEETING.total_seconds():.0f} s for the others of {size}"
        raise EnvironmentFault("E536", message, remedy="Started anew it joins those that are there.") from error


def _greet(store: Any, others: list[str]) -> None:
    """Wait for all, and then answer each."""
    store.wait(others, MEETING)
    for other in others:
        store.set(f"{other}/{store.get(other).decode()}", "seen")


def _come(store: Any, name: str) -> None:
    """Say that this worker is here, and wait for the answer to it."""
    own = secrets.token_hex(8)
    store.set(name, own)
    store.wait([f"{name}/{own}"], MEETING)


def is_parted(module: nn.Module) -> bool:
    """Whether workers keep a part of its weights each; FSDP2 itself takes two seconds to import, and is seldom asked for."""
    return any(hasattr(part, "unshard") for part in module.modules())


@contextmanager
def joined(device: Device) -> Iterator[Group]:
    """The group that torchrun's environment describes, or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Group(device=chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Group(rank=distributed.get_rank(), size=size, device=chosen)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def choose_device(device: Device, index: int = 0) -> torch.device:
    """The device asked for; `auto` takes a GPU where there is one. EnvironmentFault E501 where it is missing."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        have = torch.cuda.device_count() if torch.cuda.is_available() else 0
        message = f"a GPU with index {index} was asked for, this machine has {have}"
        raise EnvironmentFault("E501", message, remedy="Use train.device auto or cpu, or ask the cluster for a GPU.")
    torch.cuda.set_device(index)
    torch.set_float32_matmul_precision("high")  # products of float32 on the matrix units, by TF32
    return torch.device("cuda", index)
