"""The trained encoder as an ONNX graph: item vectors in, user vectors out; the item table stays outside.

Torch's other exporter needs onnxscript, and names and shapes of this one are what the compression steps were written against.
"""

import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from lodestar.models.memory import Memory
from lodestar.models.sasrec import Encoder

OPSET = 17
HISTORY, MASK, USER = "history", "mask", "user"


def encoder_bytes(encoder: Encoder, memory: Memory | None = None) -> bytes:
    """The model file: `history` float32 [B, T, D] and `mask` bool [B, T], newest last, to `user` float32 [B, D]; B and T are free.

    With a memory, its directions are the last of the D.
    """
    dim = encoder.norm.normalized_shape[0] + (len(memory.onward) if memory is not None else 0)
    return graph_bytes(_Newest(encoder, memory), dim)


def graph_bytes(module: nn.Module, dim: int) -> bytes:
    """The same of anything that takes a history and its mask, and gives a user."""
    example = torch.zeros(2, 3, dim), torch.ones(2, 3, dtype=torch.bool)
    free = {HISTORY: {0: "batch", 1: "time"}, MASK: {0: "batch", 1: "time"}, USER: {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        graph = Path(folder) / "encoder.onnx"
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        torch.onnx.export(
            module.eval().cpu(),
            example,
            graph,
            dynamo=False,
            opset_version=OPSET,
            input_names=[HISTORY, MASK],
            output_names=[USER],
            dynamic_axes=free,
        )
        return graph.read_bytes()


class _Newest(nn.Module):
    def __init__(self, encoder: Encoder, memory: Memory | None) -> None:
        super().__init__()
        self.encoder, self.memory = encoder, memory
        self.width = encoder.norm.normalized_shape[0]

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        learnt_BD = self.encoder.newest(history_BTD[:, :, : self.width], mask_BT)
        if self.memory is None:
            return learnt_BD
        return torch.cat([learnt_BD, self.memory(history_BTD[:, :, self.width :], mask_BT)], dim=1)
