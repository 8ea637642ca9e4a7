"""Ensemble of retrievers as one retriever: the weighted sum of dot products is the dot product of concatenated vectors."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lodestar.models.closed_form.closed_form_retrievers import Retriever
from lodestar.schema.arrays import Bool, Float


class ConcatEncoder(nn.Module):
    """Encoder over concatenated item vectors: each component encodes its slice, times the component's weight."""

    def __init__(self, parts: Sequence[Retriever], weights: Sequence[float]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(part.encoder for part in parts)
        self.ends = np.cumsum([0, *(part.vectors.shape[1] for part in parts)]).tolist()
        self.weights = [float(weight) for weight in weights]

    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """Concatenated weighted user vectors [B, D], D the sum of the components' dimensions."""
        users = [
            weight * encoder(history_BTD[:, :, start:end], mask_BT)
            for encoder, weight, start, end in zip(self.encoders, self.weights, self.ends, self.ends[1:], strict=False)
        ]
        return torch.cat(users, dim=1)


def blended(parts: Sequence[Retriever], weights: Sequence[float]) -> Retriever:
    """One retriever whose scores are the weighted sum of the components' scores.

    Components of weight 0 are dropped; if all are 0, the first one is used alone.
    """
    kept_indices = [index for index, weight in enumerate(weights) if weight > 0] or [0]
    chosen, shares = [parts[index] for index in kept_indices], [weights[index] or 1.0 for index in kept_indices]
    return Retriever(vectors=np.concatenate([part.vectors for part in chosen], axis=1), encoder=ConcatEncoder(chosen, shares))
