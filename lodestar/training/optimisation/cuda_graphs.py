"""CUDA graphs of training steps: launching the hundreds of small kernels of a step one by one takes longer than running them.

The first step of a batch shape runs eagerly as warm-up; the second is captured, and it and all later ones replay the graph, with inputs
copied to the captured addresses. Letters in shapes: B windows, K negatives.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lodestar.schema.arrays import Int


@dataclass(frozen=True, kw_only=True)
class StepInputs:
    """Inputs of a training step: windows (begin and count, int64 [2, B]) and negatives (int64 [K])."""

    windows: Int[Tensor, "begin_and_count windows"]
    negatives: Int[Tensor, " negatives"]

    def copy_(self, other: "StepInputs") -> None:
        """Copy another step's inputs of the same shapes into these tensors."""
        self.windows.copy_(other.windows, non_blocking=True)
        self.negatives.copy_(other.negatives, non_blocking=True)


StepFn = Callable[[StepInputs, int], None]


class CudaGraphStep:
    """A training step captured as one CUDA graph per batch shape; called like `step`, with its inputs and the width of the batch.

    All work runs on a stream of its own.
    """

    def __init__(self, step: StepFn) -> None:
        self.step = step
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graphs: dict[tuple[int, int], tuple[StepInputs, torch.cuda.CUDAGraph]] = {}
        self._warm: set[tuple[int, int]] = set()
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, inputs: StepInputs, width: int) -> None:
        """Run the step: eagerly for a new batch shape, captured for its second step, replayed afterwards."""
        shape = (inputs.windows.shape[1], width)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            if shape in self._graphs:
                static_inputs, graph = self._graphs[shape]
                static_inputs.copy_(inputs)
                graph.replay()
            elif shape in self._warm:
                self._capture(shape, inputs).replay()
            else:
                self._warm.add(shape)
                self.step(inputs, width)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, shape: tuple[int, int], inputs: StepInputs) -> torch.cuda.CUDAGraph:
        static_inputs, graph = StepInputs(windows=inputs.windows.clone(), negatives=inputs.negatives.clone()), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            self.step(static_inputs, shape[1])
        self._graphs[shape] = static_inputs, graph
        return graph
