"""Steps on a GPU as recorded graphs: launching the hundreds of small kernels of a step one by one takes longer than running them.

A shape's first step runs as it is, which is what warms it up; its second is recorded, and that and all later ones are replayed. What a step
reads is copied to where the recorded one read it. Letters: B windows, K negatives.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Given:
    """What differs from step to step of one shape: windows (begin and count, int64 [2, B]) and negatives (int64 [K])."""

    windows: Tensor
    negatives: Tensor

    def take(self, other: "Given") -> None:
        self.windows.copy_(other.windows, non_blocking=True)
        self.negatives.copy_(other.negatives, non_blocking=True)


Take = Callable[[Given, int], None]


class Replay:
    """`step` in place of itself, called with what is given and the width of the batch; everything runs on one stream of its own."""

    def __init__(self, step: Take) -> None:
        self.step = step
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._recorded: dict[tuple[int, int], tuple[Given, torch.cuda.CUDAGraph]] = {}
        self._warm: set[tuple[int, int]] = set()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, given: Given, width: int) -> None:
        shape = (given.windows.shape[1], width)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            if shape in self._recorded:
                kept, graph = self._recorded[shape]
                kept.take(given)
                graph.replay()
            elif shape in self._warm:
                self._record(shape, given).replay()
            else:
                self._warm.add(shape)
                self.step(given, width)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _record(self, shape: tuple[int, int], given: Given) -> torch.cuda.CUDAGraph:
        kept, graph = Given(windows=given.windows.clone(), negatives=given.negatives.clone()), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            self.step(kept, shape[1])
        self._recorded[shape] = kept, graph
        return graph
