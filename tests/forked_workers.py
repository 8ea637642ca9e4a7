"""Training workers of one machine without torchrun: forked of a process that has imported everything, they begin at once.

A worker that imports torch, FSDP2 and the compiler that every optimiser of torch imports takes 5 s of CPU before it does anything. torch
cannot be forked of a process that has trained: so there is one between that imports, trains nothing, and forks.
"""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from tests.ports import free_port

PRELOADED = ("torch._dynamo", "torch.onnx", "onnx", "lodestar.training.distributed.fsdp", "lodestar.training.run")


def call_preloaded(function: Callable[..., None], *arguments: object) -> None:
    """Call a function in a new process that has imported what training needs, so that it may fork workers; AssertionError if it fails."""
    _join([get_context("spawn").Process(target=_preloaded, args=(function, arguments))])


def fork_workers(count: int, function: Callable[..., None], *arguments: object) -> None:
    """Call a function in `count` forked processes, each with its rank in the environment; AssertionError if one fails."""
    port = free_port()
    _join([get_context("fork").Process(target=_ranked, args=(rank, count, port, function, arguments)) for rank in range(count)])


def _preloaded(function: Callable[..., None], arguments: tuple[object, ...]) -> None:
    for name in PRELOADED:
        import_module(name)
    function(*arguments)


def _ranked(rank: int, count: int, port: int, function: Callable[..., None], arguments: tuple[object, ...]) -> None:
    import torch

    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {**where, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    torch.set_num_threads(1)
    function(*arguments)


def _join(processes: Sequence[BaseProcess]) -> None:
    """Wait for all, or for one that fails: others would wait for it until a collective's time is over."""
    for process in processes:
        process.start()
    running = {process.sentinel: process for process in processes}
    while running and not any(process.exitcode for process in processes):
        for ended in wait(list(running)):
            running.pop(ended).join()  # type: ignore[arg-type]  # sentinels are what was waited for
    for process in processes:
        process.terminate()
        process.join()
    assert not any(process.exitcode for process in processes), [process.exitcode for process in processes]
