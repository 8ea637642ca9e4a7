"""What counting knows, as a part of the model: a user is where the last few items point, by counts of what goes with what.

The counts are kept by their strongest directions, so that the score stays a product of a user's and an item's vector. A Transformer and
these counts err on different users: together they rank better than either. Letters: B histories, T places, R directions.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

RECENT, DECAY = 5, 0.7


class Memory(nn.Module):
    """`onward` turns an item's directions into those of what is taken after it; `weight` is how loud the memory speaks."""

    def __init__(self, onward_RR: Float[Tensor, "directions directions"], weight: float = 0.0) -> None:
        super().__init__()
        self.onward = nn.Parameter(onward_RR, requires_grad=False)
        self.weight = nn.Parameter(torch.tensor(weight), requires_grad=False)

    def forward(
        self, history_BTR: Float[Tensor, "batch time directions"], mask_BT: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch directions"]:
        """The user's vector after the whole history, of length `weight`; a step further back counts `DECAY` times as much."""
        age_T = torch.arange(history_BTR.shape[1] - 1, -1, -1, device=history_BTR.device)
        share_BT = torch.where(age_T < RECENT, DECAY**age_T, 0.0)[None] * mask_BT
        toward_BR = (share_BT[:, None] @ history_BTR)[:, 0] @ self.onward
        return self.weight * functional.normalize(toward_BR, dim=1)
