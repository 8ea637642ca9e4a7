"""ONNX export of the trained encoder: item vectors in, user vectors out, without the item table.

Uses the TorchScript exporter: the dynamo one needs onnxscript, and compression depends on names and shapes of this one's graphs.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from lodestar.bundle.checks import USER
from lodestar.bundle.onnx_graph import OPSET
from lodestar.bundle.ranker import HISTORY, MASK
from lodestar.io.private_folders import workspace
from lodestar.schema.arrays import Shaped

Axes = Mapping[int, str]  # dynamic axes: index to name


def graph_bytes(module: nn.Module, dim: int) -> bytes:
    """ONNX file of an encoder: `history` float32 [B, T, D] and `mask` bool [B, T], newest last, to `user` float32 [B, D].

    B and T are dynamic; D is `dim`.
    """
    example = torch.zeros(2, 3, dim), torch.ones(2, 3, dtype=torch.bool)
    free: Axes = {0: "batch", 1: "time"}
    return exported(module, example, {HISTORY: free, MASK: free}, {USER: {0: "batch"}})


def exported(
    module: nn.Module, example: tuple[Shaped[Tensor, "..."], ...], inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]
) -> bytes:
    """ONNX file of a module, traced with `example` inputs; `inputs` and `outputs` map names to their dynamic axes."""
    with workspace() as folder, warnings.catch_warnings():
        graph = Path(folder) / "graph.onnx"
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Shape checks in torch's recurrent layers, and its note on their batch size; tests check that the axes are dynamic.
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
