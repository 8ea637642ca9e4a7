"""Base class of sequence encoders: item vectors in, user vectors out. Exported to ONNX as a whole, without the item table.

Letters in shapes: B histories, T positions (newest last, left-padded), D width, N items.
"""

from abc import abstractmethod

from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.encoders.attention import Dropout
from lodestar.schema.arrays import Bool, Float, Int


class Encoder(nn.Module):
    """Abstract sequence encoder; each neural family implements `forward`, and what differs from next-item training."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.dim
        self.dropout = Dropout(config.dropout)

    @abstractmethod
    def forward(
        self, history_BTD: Float[Tensor, "batch time columns"], mask_BT: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """User vectors after each position [B, T, D]; those at padding (mask false) are arbitrary."""

    def user_vector(
        self, history_BTD: Float[Tensor, "batch time columns"], mask_BT: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch dim"]:
        """User vectors after the whole history [B, D], as used at inference."""
        users_BTD: Tensor = self(history_BTD, mask_BT)
        return users_BTD[:, -1]

    def training_targets(
        self,
        table_ND: Float[Tensor, "items dim"],
        history_BT: Int[Tensor, "batch time"],
        mask_BT: Bool[Tensor, "batch time"],
        target_BT: Int[Tensor, "batch time"],
    ) -> tuple[Float[Tensor, "batch time dim"], Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        """Training targets of a batch: user vectors [B, T, D], target items [B, T] and the mask of positions that count [B, T].

        The default is next-item prediction at every position.
        """
        users_BTD: Tensor = self(self.embed(history_BT, table_ND), mask_BT)
        return users_BTD, target_BT, mask_BT

    def embed(self, history_BT: Int[Tensor, "batch time"], table_ND: Float[Tensor, "items dim"]) -> Float[Tensor, "batch time columns"]:
        """The encoder's input for a history of item indices: item vectors [B, T, columns]."""
        return functional.embedding(history_BT, table_ND)

    def scale_inputs(
        self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """Scale item vectors of variance 1 / D to variance 1, with dropout, and zero them at padding, [B, T, D]."""
        inputs: Tensor = self.dropout(history_BTD * self.width**0.5) * mask_BT[:, :, None]
        return inputs
