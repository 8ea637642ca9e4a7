"""What is written of items, as numbers: the words of titles, categories and tags."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestar.catalogue import Catalogue

MOST_WORDS = 32  # of one title, the first ones, and as many categories and tags
LEAST_ITEMS = 2  # a word of one item says nothing of others
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class WordsOfItems:
    """Item i has the words word[starts[i]:starts[i + 1]], each a number below `num_words`."""

    word: NDArray[np.int64]
    starts: NDArray[np.int64]
    num_words: int


def words_of(items: Catalogue) -> WordsOfItems:
    """A word is in use where at least two items have it; a category or a tag counts as one word, apart from the same in a title."""
    marks = items.marks or [(f"category {category}",) if category else () for category in items.categories]
    written = [_words(title, own) for title, own in zip(items.titles, marks, strict=True)]
    count = Counter(word for words in written for word in words)
    number = {word: place for place, word in enumerate(sorted(word for word, items_with in count.items() if items_with >= LEAST_ITEMS))}
    known = [[number[word] for word in words if word in number] for words in written]
    return WordsOfItems(
        word=np.array([word for words in known for word in words], dtype=np.int64),
        starts=np.cumsum([0, *(len(words) for words in known)], dtype=np.int64),
        num_words=len(number),
    )


def _words(title: str, marks: Sequence[str]) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys([*_WORD.findall(title.casefold())[:MOST_WORDS], *marks[:MOST_WORDS]]))
