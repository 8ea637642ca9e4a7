"""Next-item model: item embeddings (id, hash or text) and the encoder of one family; a score is a dot product.

Letters in shapes: B histories, T positions (newest last), D width, N items.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lodestar.config import ModelConfig
from lodestar.data.split.ragged_array import from_lists
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.encoders.bert4rec import BERT4Rec
from lodestar.models.encoders.caser import Caser
from lodestar.models.encoders.encoder import Encoder
from lodestar.models.encoders.hash_embedding import HashEmbedding
from lodestar.models.encoders.hstu import HSTU
from lodestar.models.encoders.item_text import ItemTokens
from lodestar.models.encoders.recurrent import gru, lstm
from lodestar.models.encoders.sasrec import SASRec
from lodestar.models.encoders.tower import Tower
from lodestar.schema.arrays import Bool, Float, Int

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
ITEM_WEIGHT = "items.weight"  # name of the item embedding among the parameters of a model
ID_DROPOUT = 0.1  # rate at which training drops an item's id embedding and keeps its text alone


class NextItemModel(nn.Module):
    """Item table and encoder of a neural family; with `use_text`, text embeddings are added to item vectors.

    Cold-start items are then represented by their text. The family `content` embeds history items by text alone and has an untied output
    matrix for the softmax over items.
    """

    def __init__(self, num_items: int, config: ModelConfig, words: ItemTokens | None = None, ids: Sequence[str] = ()) -> None:
        """Initialise randomly; `words` are the items' tokens (with `use_text`), `ids` their ids (with `hash_buckets`)."""
        super().__init__()
        self.items: nn.Embedding | HashEmbedding
        if config.hash_buckets:
            self.items = HashEmbedding(ids, config.hash_buckets, config.dim)
        else:
            self.items = nn.Embedding(num_items, config.dim)
            nn.init.normal_(self.items.weight, std=config.dim**-0.5)
        self.words = TextEmbedding(words, config.dim) if words is not None else None
        self.is_untied = config.family == "content"
        self.encoder = ENCODERS[config.family](config)

    def tables(self) -> tuple[Float[Tensor, "items dim"], Float[Tensor, "items dim"]]:
        """Input and output item tables; the same tensor unless the family is untied (`content`)."""
        id_ND = self.items.weight
        if self.words is None:
            return id_ND, id_ND
        text_ND = self.words()
        if self.is_untied:
            return text_ND, id_ND
        if self.training:
            id_ND = id_ND * (torch.rand(len(id_ND), 1, device=id_ND.device) >= ID_DROPOUT)
        table_ND = id_ND + text_ND
        return table_ND, table_ND

    def forward(
        self,
        history_BT: Int[Tensor, "batch time"],
        mask_BT: Bool[Tensor, "batch time"],
        target_BT: Int[Tensor, "batch time"],
        table_ND: Float[Tensor, "items dim"] | None = None,
    ) -> tuple[
        Float[Tensor, "batch outputs dim"], Int[Tensor, "batch outputs"], Bool[Tensor, "batch outputs"], Float[Tensor, "output_items dim"]
    ]:
        """User vectors, target items, mask of positions that count, and the output item table, for the loss.

        `table_ND` replaces the model's item table, for a caller that holds (a part of) it elsewhere.
        """
        input_ND, output_ND = self.tables() if table_ND is None else (table_ND, table_ND)
        return *self.encoder.training_targets(input_ND, history_BT, mask_BT, target_BT), output_ND

    def scores(self, history_BT: Int[Tensor, "batch time"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch items"]:
        """Scores of all items after the whole history."""
        input_ND, output_ND = self.tables()
        return self.encoder.user_vector(self.encoder.embed(history_BT, input_ND), mask_BT) @ output_ND.T

    @torch.no_grad()
    def init_item_vectors(self, vectors_ND: Float[Tensor, "items dim"]) -> None:
        """Set the item id embeddings to initial vectors (for hash embeddings, approximately)."""
        if isinstance(self.items, HashEmbedding):
            self.items.init_item_vectors(vectors_ND)
        else:
            self.items.weight.copy_(vectors_ND)

    @torch.no_grad()
    def zero_unseen_items(self, sequences: Sequences) -> None:
        """Zero the id embeddings of items without training interactions, which are random; their text embeddings remain."""
        has_interactions = torch.zeros(len(self.items.weight), 1)
        has_interactions[from_lists(sequences).flat()] = 1
        if isinstance(self.items, HashEmbedding):
            self.items.zero(has_interactions)
        else:
            self.items.weight *= has_interactions.to(self.items.weight.device)

    @torch.no_grad()
    def export_parts(self) -> tuple[Float[Tensor, "items columns"], nn.Module]:
        """Item vectors for export, one row per item, and the matching export encoder."""
        input_ND, output_ND = self.eval().tables()
        if self.is_untied:
            return torch.cat([input_ND, output_ND], dim=1), UntiedExportEncoder(self.encoder)
        return output_ND.detach(), ExportEncoder(self.encoder)


class TextEmbedding(nn.Module):
    """Text embedding of items: the sum of token embeddings divided by the square root of their number."""

    def __init__(self, words: ItemTokens, dim: int) -> None:
        super().__init__()
        self.vectors = nn.EmbeddingBag(words.num_words + 1, dim, mode="sum", include_last_offset=True)
        nn.init.normal_(self.vectors.weight, std=dim**-0.5)
        lengths = words.starts[1:] - words.starts[:-1]
        self.register_buffer("word", torch.from_numpy(words.word), persistent=False)
        self.register_buffer("starts", torch.from_numpy(words.starts), persistent=False)
        self.register_buffer("share", torch.from_numpy(lengths.clip(1)).float().rsqrt()[:, None], persistent=False)

    def forward(self) -> Float[Tensor, "items dim"]:
        """Text vectors of all items [N, D]; 0 for items without tokens."""
        summed_ND: Tensor = self.vectors(self.get_buffer("word"), self.get_buffer("starts"))
        return summed_ND * self.get_buffer("share")


class ExportEncoder(nn.Module):
    """Export form of an encoder: history [B, T, D] and mask [B, T] to the user vector after the whole history [B, D]."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, history_BTD: Float[Tensor, "batch time columns"], mask_BT: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch dim"]:
        """User vectors [B, D]."""
        return self.encoder.user_vector(history_BTD, mask_BT)


class UntiedExportEncoder(ExportEncoder):
    """Export form for untied embeddings: each row is [input vector, output vector]."""

    def forward(
        self, history_BTD: Float[Tensor, "batch time columns"], mask_BT: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch columns"]:
        """User vectors [B, 2 D], zero in the first half, which multiplies the candidates' input vectors."""
        user_BD = self.encoder.user_vector(history_BTD[:, :, : self.encoder.width], mask_BT)
        return torch.cat([torch.zeros_like(user_BD), user_BD], dim=1)
