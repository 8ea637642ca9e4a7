"""A model of what comes next: the items' vectors and the encoder of one family; a score is the product of a user's vector and an item's.

Letters in shapes: B histories, T places (the newest last), D width, N items, M places that predict, W words.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.data.histories import packed
from lodestar.models.bert4rec import BERT4Rec
from lodestar.models.caser import Caser
from lodestar.models.counts import Sequences
from lodestar.models.encoder import Encoder
from lodestar.models.hashed import Hashed
from lodestar.models.hstu import HSTU
from lodestar.models.recurrent import gru, lstm
from lodestar.models.sasrec import SASRec
from lodestar.models.tower import Tower
from lodestar.models.words import WordsOfItems

ENCODERS: Mapping[str, Callable[[ModelConfig], Encoder]] = {
    "sasrec": SASRec,
    "bert4rec": BERT4Rec,
    "hstu": HSTU,
    "gru": gru,
    "lstm": lstm,
    "caser": Caser,
    "two_tower": Tower,
    "content": Tower,
}
UNNAMED = 0.1  # how often an item is shown to training by its words alone


class NextItem(nn.Module):
    """The table of the items' vectors and the encoder; with `words`, what is written of an item adds to its vector.

    An item that nobody took yet is then where its words put it. The family `content` knows items by their words alone and learns a matrix
    of its own for the softmax over items.
    """

    def __init__(self, num_items: int, config: ModelConfig, words: WordsOfItems | None = None, ids: Sequence[str] = ()) -> None:
        """`ids` are the items', where the recipe has their vectors `hashed`."""
        super().__init__()
        self.items: nn.Embedding | Hashed
        if config.hashed:
            self.items = Hashed(ids, config.hashed, config.dim)
        else:
            self.items = nn.Embedding(num_items, config.dim)
            nn.init.normal_(self.items.weight, std=config.dim**-0.5)
        self.words = Written(words, config.dim) if words is not None else None
        self.is_untied = config.family == "content"
        self.encoder = ENCODERS[config.family](config)

    def tables(self) -> tuple[Float[Tensor, "items dim"], Float[Tensor, "items dim"]]:
        """Items as parts of a history, and as answers: the same but for `content`."""
        own_ND = self.items.weight
        if self.words is None:
            return own_ND, own_ND
        written_ND = self.words()
        if self.is_untied:
            return written_ND, own_ND
        if self.training:
            own_ND = own_ND * (torch.rand(len(own_ND), 1, device=own_ND.device) >= UNNAMED)
        table_ND = own_ND + written_ND
        return table_ND, table_ND

    def forward(
        self,
        history_BT: Int[Tensor, "batch time"],
        mask_BT: Bool[Tensor, "batch time"],
        target_BT: Int[Tensor, "batch time"],
        table_ND: Float[Tensor, "items dim"] | None = None,
    ) -> tuple[Float[Tensor, "batch time dim"], Int[Tensor, "batch time"], Bool[Tensor, "batch time"], Float[Tensor, "items dim"]]:
        """What a batch teaches: users' vectors, the items they should point to, which places count, and all items as answers.

        `table_ND` takes the place of the model's own vectors, for a caller who holds them elsewhere.
        """
        asked_ND, answers_ND = self.tables() if table_ND is None else (table_ND, table_ND)
        return *self.encoder.learn(asked_ND, history_BT, mask_BT, target_BT), answers_ND

    def scores(self, history_BT: Int[Tensor, "batch time"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch items"]:
        """Of all items after the whole history."""
        asked_ND, answers_ND = self.tables()
        return self.encoder.newest(self.encoder.looked_up(history_BT, asked_ND), mask_BT) @ answers_ND.T

    @torch.no_grad()
    def begin_at(self, vectors_ND: Float[Tensor, "items dim"]) -> None:
        """Item vectors for a beginning."""
        if isinstance(self.items, Hashed):
            self.items.begin_at(vectors_ND)
        else:
            self.items.weight.copy_(vectors_ND)

    @torch.no_grad()
    def forget_untaken(self, sequences: Sequences) -> None:
        """Leave items that training never saw where their words put them: what else they have is where chance put it.

        Hashed rows are those of other items too, and stay.
        """
        if isinstance(self.items, Hashed):
            return
        is_taken = torch.zeros(len(self.items.weight), 1)
        is_taken[packed(sequences).flat()] = 1
        self.items.weight *= is_taken.to(self.items.weight.device)

    @torch.no_grad()
    def served(self) -> tuple[Float[Tensor, "items columns"], nn.Module]:
        """A row for each item, and the encoder for such rows."""
        asked_ND, answers_ND = self.eval().tables()
        if self.is_untied:
            return torch.cat([asked_ND, answers_ND], dim=1), Asked(self.encoder)
        return answers_ND.detach(), Newest(self.encoder)


class Written(nn.Module):
    """An item's words as one vector: the sum of theirs by the root of their number."""

    def __init__(self, words: WordsOfItems, dim: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(words.num_words + 1, dim, mode="sum", include_last_offset=True)
        nn.init.normal_(self.vectors.weight, std=dim**-0.5)
        lengths = words.starts[1:] - words.starts[:-1]
        self.register_buffer("word", torch.from_numpy(words.word), persistent=False)
        self.register_buffer("starts", torch.from_numpy(words.starts), persistent=False)
        self.register_buffer("share", torch.from_numpy(lengths.clip(1)).float().rsqrt()[:, None], persistent=False)

    def forward(self) -> Tensor:
        summed_ND: Tensor = self.vectors(self.get_buffer("word"), self.get_buffer("starts"))
        return summed_ND * self.get_buffer("share")


class Newest(nn.Module):
    """The user after the whole history: the form that is exported."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return self.encoder.newest(history_BTD, mask_BT)


class Asked(Newest):
    """The same for rows that hold an item as asked with, and then as answer."""

    def forward(self, history_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        user_BD = self.encoder.newest(history_BTD[:, :, : self.encoder.width], mask_BT)
        return torch.cat([torch.zeros_like(user_BD), user_BD], dim=1)
