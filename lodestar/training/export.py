"""The trained encoder as an ONNX graph: item vectors in, user vectors out; the item table stays outside.

Torch's other exporter needs onnxscript, and names and shapes of this one are what the compression steps were written against.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from lodestar.onnx_graph import OPSET
from lodestar.private import workspace

HISTORY, MASK, USER = "history", "mask", "user"
Axes = Mapping[int, str]  # those of any length, and what they are called


def graph_bytes(module: nn.Module, dim: int) -> bytes:
    """The model file: `history` float32 [B, T, D] and `mask` bool [B, T], newest last, to `user` float32 [B, D]; B and T are free."""
    example = torch.zeros(2, 3, dim), torch.ones(2, 3, dtype=torch.bool)
    free: Axes = {0: "batch", 1: "time"}
    return exported(module, example, {HISTORY: free, MASK: free}, {USER: {0: "batch"}})


def exported(module: nn.Module, example: tuple[Tensor, ...], inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]) -> bytes:
    """The model file of a module, traced with an example of its inputs."""
    with workspace() as folder, warnings.catch_warnings():
        graph = Path(folder) / "graph.onnx"
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Torch's own checks of shapes in a recurrent layer, and its note that batches are to be free there: tests hold that they are.
        warnings.filterwarnings("ignore", category=TracerWarning, module="torch.nn.modules.rnn")
        warnings.filterwarnings("ignore", "Exporting a model to ONNX with a batch_size other than 1", UserWarning)
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)
        torch.onnx.export(
            module.eval().cpu(),
            example,
            graph,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={**inputs, **outputs},
        )
        return graph.read_bytes()
