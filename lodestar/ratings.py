"""A bundle's ratings: what a user would give an item, read with numpy alone.

    ratings.npz    a bias and a vector of each user, [U] and [U, D], by a key that does not name them, and of each item, [N] and [N, D]

A rating is the usual one, what the user and the item add to it, and the product of their vectors, within the range that was seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.arrays import Arrays, Kinds

FILE = "ratings.npz"
KEYS, USER_BIAS, USER_VECTORS, ITEM_BIAS, ITEM_VECTORS, SCALE = "keys", "user_bias", "user_vectors", "item_bias", "item_vectors", "scale"
KEY_BYTES = 8
# Of numpy's type, and shapes: None is any length.
KINDS: Kinds = {
    KEYS: ("u", (None,)),
    **dict.fromkeys((USER_BIAS, ITEM_BIAS), ("f", (None,))),
    **dict.fromkeys((USER_VECTORS, ITEM_VECTORS), ("f", (None, None))),
    SCALE: ("f", (3,)),
}

Floats = NDArray[np.float32]
Rows = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """`keys` uint64 [U] in order; `usual`, `lowest` and `highest` are on the scale of the ratings."""

    keys: NDArray[np.uint64]
    user_bias: Floats
    user_vectors: NDArray[np.float16]
    item_bias: Floats
    item_vectors: NDArray[np.float16]
    usual: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, users: Sequence[str], *, user_bias: Floats, user_vectors: Floats, **others: Any) -> Self:
        """With the users' rows in the order of their keys."""
        keys = np.array([key(user) for user in users], dtype=np.uint64)
        order = np.argsort(keys)
        return cls(keys=keys[order], user_bias=user_bias[order], user_vectors=user_vectors[order].astype(np.float16), **others)

    def foretold(self, user: str, rows: Rows) -> Floats:
        """What a user would give items (rows of the catalogue); one who rated nothing yet is like all others together."""
        at = int(np.searchsorted(self.keys, key(user)))
        if at < len(self.keys) and self.keys[at] == key(user):
            bias, vector = self.user_bias[at], self.user_vectors[at].astype(np.float32)
        else:
            bias, vector = np.float32(0), self._all_together
        rating: Floats = self.usual + bias + self.item_bias[rows] + self.item_vectors[rows].astype(np.float32) @ vector
        return rating.clip(self.lowest, self.highest).astype(np.float32)

    @cached_property
    def _all_together(self) -> Floats:
        mean: Floats = self.user_vectors.mean(axis=0, dtype=np.float32)
        return mean

    def arrays(self) -> Arrays:
        """What `from_arrays` takes back."""
        return {
            KEYS: self.keys,
            USER_BIAS: self.user_bias,
            USER_VECTORS: self.user_vectors,
            ITEM_BIAS: self.item_bias,
            ITEM_VECTORS: self.item_vectors,
            SCALE: np.array([self.usual, self.lowest, self.highest]),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        usual, lowest, highest = (float(value) for value in arrays[SCALE])
        parts = {name: arrays[name] for name in (KEYS, USER_BIAS, USER_VECTORS, ITEM_BIAS, ITEM_VECTORS)}
        return cls(**parts, usual=usual, lowest=lowest, highest=highest)


def key(user: str) -> np.uint64:
    """Eight bytes of the id's hash: a bundle goes to many places, and tells nobody who its users are."""
    return np.uint64(int.from_bytes(blake2b(user.encode(), digest_size=KEY_BYTES).digest(), "little"))
