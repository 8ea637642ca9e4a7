"""What every model of sequences is made of: item vectors in, user vectors out. All of it is exported; the item table is kept outside.

Letters in shapes: B histories, T places (the newest last, padding on the left), D width, M places that predict, N items.
"""

from abc import abstractmethod

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from lodestar.config import ModelConfig
from lodestar.models.attention import Dropout


class Encoder(nn.Module):
    """A family is one of these, in a file of its own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width = config.dim
        self.dropout = Dropout(config.dropout)

    @abstractmethod
    def forward(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time dim"]:
        """The user's vector after every place; what stands where the mask is false is arbitrary."""

    def newest(self, history_BTD: Float[Tensor, "batch time dim"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """The user's vector after the whole history: what is served."""
        users_BTD: Tensor = self(history_BTD, mask_BT)
        return users_BTD[:, -1]

    def learn(
        self,
        table_ND: Float[Tensor, "items dim"],
        history_BT: Int[Tensor, "batch time"],
        mask_BT: Bool[Tensor, "batch time"],
        target_BT: Int[Tensor, "batch time"],
    ) -> tuple[Float[Tensor, "batch time dim"], Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
        """What a batch teaches: a user's vector, the item it should point to, and whether that place counts.

        Here every place foretells the one after it.
        """
        users_BTD: Tensor = self(self.looked_up(history_BT, table_ND), mask_BT)
        return users_BTD, target_BT, mask_BT

    def looked_up(self, history_BT: Int[Tensor, "batch time"], table_ND: Float[Tensor, "items dim"]) -> Float[Tensor, "batch time columns"]:
        """What the encoder is given of a history: its items' vectors."""
        return functional.embedding(history_BT, table_ND)

    def begin(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Item vectors have variance 1 / D; what a layer takes has 1, and 0 where nothing is."""
        started: Tensor = self.dropout(history_BTD * self.width**0.5) * mask_BT[:, :, None]
        return started
