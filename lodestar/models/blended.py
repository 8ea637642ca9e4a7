"""Several retrievers as one: a score is the weighted sum of theirs, which is a product of two longer vectors."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lodestar.models.retriever import Retriever


class Beside(nn.Module):
    """Encoders of parts whose rows stand beside each other, each user's vector multiplied by its part's weight."""

    def __init__(self, parts: Sequence[Retriever], weights: Sequence[float]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(part.encoder for part in parts)
        self.ends = np.cumsum([0, *(part.vectors.shape[1] for part in parts)]).tolist()
        self.weights = [float(weight) for weight in weights]

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        users = [
            weight * encoder(history_BTD[:, :, start:end], mask_BT)
            for encoder, weight, start, end in zip(self.encoders, self.weights, self.ends, self.ends[1:], strict=False)
        ]
        return torch.cat(users, dim=1)


def blended(parts: Sequence[Retriever], weights: Sequence[float]) -> Retriever:
    """One retriever whose scores are the parts' by their weights; parts of weight 0 are left out, but for the first where all are."""
    kept = [place for place, weight in enumerate(weights) if weight > 0] or [0]
    chosen, shares = [parts[place] for place in kept], [weights[place] or 1.0 for place in kept]
    return Retriever(vectors=np.concatenate([part.vectors for part in chosen], axis=1), encoder=Beside(chosen, shares))
