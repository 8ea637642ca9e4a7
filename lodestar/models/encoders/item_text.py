"""Item text as tokens: the vocabulary and token ids of titles, categories and tags."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lodestar.bundle.catalogue import Catalogue
from lodestar.schema.arrays import Int64, Longs

MAX_TOKENS = 32  # the first ones of a title, and as many categories and tags
MIN_DOCUMENT_FREQUENCY = 2  # a token of a single item does not generalise
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class ItemTokens:
    """Ragged token ids: item i has word[starts[i]:starts[i + 1]], each in 0 to `num_words` - 1; `starts` has one entry more than items."""

    word: Int64[Longs, " words"]
    starts: Int64[Longs, " items_and_one"]
    num_words: int


def words_of(items: Catalogue) -> ItemTokens:
    """Tokenise a catalogue; the vocabulary is the tokens of at least two items.

    A category or tag is one token, distinct from the same word in a title.
    """
    categories_and_tags = items.categories_and_tags or [(f"category {category}",) if category else () for category in items.categories]
    tokens = [_tokenise(title, own) for title, own in zip(items.titles, categories_and_tags, strict=True)]
    document_frequency = Counter(word for words in tokens for word in words)
    vocabulary = {
        word: index
        for index, word in enumerate(
            sorted(word for word, items_with in document_frequency.items() if items_with >= MIN_DOCUMENT_FREQUENCY)
        )
    }
    token_ids = [[vocabulary[word] for word in words if word in vocabulary] for words in tokens]
    return ItemTokens(
        word=np.array([word for words in token_ids for word in words], dtype=np.int64),
        starts=np.cumsum([0, *(len(words) for words in token_ids)], dtype=np.int64),
        num_words=len(vocabulary),
    )


def _tokenise(title: str, categories_and_tags: Sequence[str]) -> list[str]:
    """Distinct tokens of one item, case-folded title words first, in order."""
    return list(dict.fromkeys([*_WORD.findall(title.casefold())[:MAX_TOKENS], *categories_and_tags[:MAX_TOKENS]]))
