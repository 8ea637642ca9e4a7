"""Data-parallel workers: process group, all-reduce, broadcast, rendezvous and device choice.

Each worker trains on its share of every batch; gradients are all-reduced. Workers are started by torchrun, on one machine or as the pods of
a PyTorchJob; `process_group` reads the environment that it sets.

A collective fails after the group's timeout, 10 minutes with NCCL, 30 with Gloo. What rank zero does alone (a closed-form model, a ranker,
ratings, saving, publishing) may be longer, so the others wait for it by `Group.wait`, whose limit is WAIT_LIMIT.
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
from lodestar.schema.arrays import Shaped

RENDEZVOUS_TIMEOUT = timedelta(minutes=2)  # workers start together, and download features after the rendezvous
WAIT_LIMIT = timedelta(days=7)  # a worker that has died ends the wait at once, by its closed connection


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rank of this process among `size` workers, its device, and collectives of the group; `waits` is the Gloo group of `wait`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    waits: distributed.ProcessGroup | None = None

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the worker that writes checkpoints, log and bundle."""
        return self.rank == 0

    def sum(self, values: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
        """All-reduce: the element-wise sum over all workers, on each of them. The argument's memory may be overwritten."""
        if self.size > 1:
            shared = values.to(self.device)
            distributed.all_reduce(shared)
            return shared.to(values.device)
        return values

    def broadcast(self, content: bytes | None) -> bytes | None:
        """Broadcast of rank zero's bytes to all workers; the argument of the others is ignored."""
        if self.size == 1:
            return content
        box = [content]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Barrier without the group's timeout: wait until all workers are here, for WAIT_LIMIT at most."""
        if self.waits is not None:
            distributed.barrier(group=self.waits)

    def wrap(self, objective: nn.Module) -> nn.Module:
        """The module wrapped in DDP, which averages gradients over workers; a sharded module (FSDP2) averages its own and is returned.

        Workers initialise equal weights by seed, and shards of an item table differ: initial weights are not broadcast.
        """
        if self.size == 1 or is_sharded(objective):
            return objective
        return nn.parallel.DistributedDataParallel(objective, init_sync=False)


def rendezvous() -> None:
    """Wait until all workers of this torchrun start are present; EnvironmentFault E536 if one is missing after two minutes.

    If rank 0 dies during rendezvous, other workers would block on the stale group until the 30-minute timeout; fail early so that the
    restart rejoins the new group. Rank 0 acknowledges each worker by that worker's random token, so that no restarted worker mistakes an
    acknowledgement of its predecessor for its own.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return
    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    prefix = f"meeting/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    try:
        store = distributed.TCPStore(*where, is_master=False, timeout=RENDEZVOUS_TIMEOUT)  # type: ignore[attr-defined]
        if rank == 0:
            _acknowledge(store, [f"{prefix}/{other}" for other in range(1, size)])
        else:
            _announce(store, f"{prefix}/{rank}")
    except distributed.DistError as error:
        message = f"worker {rank} waited {RENDEZVOUS_TIMEOUT.total_seconds():.0f} s for the others of {size}"
        raise EnvironmentFault("E536", message, remedy="A restarted worker joins those that are present.") from error


def _acknowledge(store: Any, others: list[str]) -> None:
    """Wait for all workers' tokens, then acknowledge each."""
    store.wait(others, RENDEZVOUS_TIMEOUT)
    for other in others:
        store.set(f"{other}/{store.get(other).decode()}", "seen")


def _announce(store: Any, name: str) -> None:
    """Publish this worker's random token, and wait for its acknowledgement."""
    token = secrets.token_hex(8)
    store.set(name, token)
    store.wait([f"{name}/{token}"], RENDEZVOUS_TIMEOUT)


def is_sharded(module: nn.Module) -> bool:
    """Whether a module's weights are sharded by FSDP2; checked by attribute, since importing FSDP2 takes two seconds."""
    return any(hasattr(part, "unshard") for part in module.modules())


@contextmanager
def process_group(device: Device) -> Iterator[Group]:
    """The process group of torchrun's environment (NCCL or Gloo), or this process alone; destroyed at exit, when all workers are there."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen_device = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Group(device=chosen_device)
        return
    distributed.init_process_group("nccl" if chosen_device.type == "cuda" else "gloo")
    try:
        waits = distributed.new_group(backend="gloo", timeout=WAIT_LIMIT)
        group = Group(rank=distributed.get_rank(), size=size, device=chosen_device, waits=waits)
        yield group
        group.wait()
    finally:
        distributed.destroy_process_group()


def choose_device(device: Device, index: int = 0) -> torch.device:
    """The device of a worker with local rank `index`; `auto` is a GPU if there is one. EnvironmentFault E501 if it is missing."""
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        have = torch.cuda.device_count() if torch.cuda.is_available() else 0
        message = f"the GPU with index {index} is missing, this machine has {have}"
        raise EnvironmentFault("E501", message, remedy="Use train.device auto or cpu, or request a GPU from the cluster.")
    torch.cuda.set_device(index)
    torch.set_float32_matmul_precision("high")  # TF32 tensor cores for float32 matrix products
    return torch.device("cuda", index)
