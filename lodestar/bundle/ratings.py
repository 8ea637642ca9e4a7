"""Rating prediction model of a bundle: biased matrix factorisation, read with numpy alone.

    ratings.npz    biases and vectors of users, [U] and [U, D], by hashed user id, and of items, [N] and [N, D]

rating = global mean + user bias + item bias + user vector · item vector, clipped to the range of the training ratings
(Koren et al., "Matrix Factorization Techniques for Recommender Systems", IEEE Computer 2009).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.io.npz import Arrays, Kinds
from lodestar.schema.arrays import Float, Float32, Floats, Int, Integers, UInt

RATINGS_FILE = "ratings.npz"
KEYS, USER_BIAS, USER_VECTORS, ITEM_BIAS, ITEM_VECTORS, SCALE = "keys", "user_bias", "user_vectors", "item_bias", "item_vectors", "scale"
KEY_BYTES = 8
# dtype kinds and shapes of ratings.npz; None is any length
KINDS: Kinds = {
    KEYS: ("u", (None,)),
    **dict.fromkeys((USER_BIAS, ITEM_BIAS), ("f", (None,))),
    **dict.fromkeys((USER_VECTORS, ITEM_VECTORS), ("f", (None, None))),
    SCALE: ("f", (3,)),
}


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Biases and vectors of users and items; `keys` uint64 [U] ascend; `global_mean`, `lowest`, `highest` are on the rating scale."""

    keys: UInt[NDArray[np.uint64], " _users"]
    user_bias: Float[Floats, " _users"]
    user_vectors: Float[NDArray[np.float16], "_users _dim"]
    item_bias: Float[Floats, " _items"]
    item_vectors: Float[NDArray[np.float16], "_items _dim"]
    global_mean: float
    lowest: float
    highest: float

    @classmethod
    def from_users(
        cls, users: Sequence[str], *, user_bias: Float32[Floats, " users"], user_vectors: Float32[Floats, "users dim"], **others: Any
    ) -> Self:
        """Rating model from user ids, whose rows are sorted by hashed id; `others` are the remaining fields."""
        keys = np.array([key(user) for user in users], dtype=np.uint64)
        order = np.argsort(keys)
        return cls(keys=keys[order], user_bias=user_bias[order], user_vectors=user_vectors[order].astype(np.float16), **others)

    def predict(self, user: str, rows: Int[Integers, " rows"]) -> Float32[Floats, " rows"]:
        """Predicted ratings of item rows, [rows]; a cold-start user has bias 0 and the mean user vector."""
        at = int(np.searchsorted(self.keys, key(user)))
        if at < len(self.keys) and self.keys[at] == key(user):
            bias, vector = self.user_bias[at], self.user_vectors[at].astype(np.float32)
        else:
            bias, vector = np.float32(0), self._mean_user_vector
        # pyrefly: ignore[bad-assignment]
        rating: Floats = self.global_mean + bias + self.item_bias[rows] + self.item_vectors[rows].astype(np.float32) @ vector
        return rating.clip(self.lowest, self.highest).astype(np.float32)

    @cached_property
    def _mean_user_vector(self) -> Floats:
        mean: Floats = self.user_vectors.mean(axis=0, dtype=np.float32)
        return mean

    def arrays(self) -> Arrays:
        """Arrays to save in ratings.npz; the inverse of `from_arrays`."""
        return {
            KEYS: self.keys,
            USER_BIAS: self.user_bias,
            USER_VECTORS: self.user_vectors,
            ITEM_BIAS: self.item_bias,
            ITEM_VECTORS: self.item_vectors,
            SCALE: np.array([self.global_mean, self.lowest, self.highest]),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Rating model from the arrays of ratings.npz, checked against `KINDS` before."""
        global_mean, lowest, highest = (float(value) for value in arrays[SCALE])
        parts = {name: arrays[name] for name in (KEYS, USER_BIAS, USER_VECTORS, ITEM_BIAS, ITEM_VECTORS)}
        return cls(**parts, global_mean=global_mean, lowest=lowest, highest=highest)


def key(user: str) -> np.uint64:
    """Eight bytes of the hash of a user id (BLAKE2b), so that a bundle holds no user ids."""
    return np.uint64(int.from_bytes(blake2b(user.encode(), digest_size=KEY_BYTES).digest(), "little"))
