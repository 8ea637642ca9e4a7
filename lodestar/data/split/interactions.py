"""Interactions as arrays: user index, item index and time, sorted by user and time.

The rules of feedback decide which events are interactions (`lodestar.features.batch.sequences`): a user's first with an item, the one that
makes it seen, and with repeat consumption each after the gap.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig
from lodestar.data.split.ragged_array import Number, RaggedArray
from lodestar.errors import DataError
from lodestar.schema.arrays import Bool, Flags, Float32, Floats, Int32, Int64, Ints, Longs, Shaped


@dataclass(frozen=True, kw_only=True)
class FilterEvents:
    """Events that filter an item without being an interaction, in parallel, sorted by user, then time (UTC µs).

    They are users' refusals (`refused`), and events that made an item seen. `other_item` and `other_time` are the refusals of users who
    have no interaction.
    """

    user: Int32[Ints, " events"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    item: Int32[Ints, " events"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    time: Int64[Longs, " events"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    refused: Bool[Flags, " events"] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    other_item: Int32[Ints, " others"] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    other_time: Int64[Longs, " others"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """Arrays `user`, `item` (indices) and `time` (UTC µs) in parallel, sorted by user, then time, then the order of the file.

    `users` are the ids of users with an interaction, in the order they first appear; `items` those of the whole catalogue, in its order.
    `weight` is how much each says, empty where all say the same; `seen` whether it made its item seen, empty where all did.
    """

    users: list[str]
    items: list[str]
    user: Int32[Ints, " interactions"]
    item: Int32[Ints, " interactions"]
    time: Int64[Longs, " interactions"]
    weight: Float32[Floats, " interactions_or_none"] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    seen: Bool[Flags, " interactions_or_none"] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    filters: FilterEvents = field(default_factory=FilterEvents)

    @property
    def num_users(self) -> int:
        """Number of users with an interaction."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.items)

    def histories(self) -> RaggedArray[np.int32]:
        """Item indices of each user, oldest first, as a ragged array of num_users parts."""
        return self.by_user(self.item)

    def by_user(self, values: Shaped[NDArray[Number], " interactions"]) -> RaggedArray[Number]:
        """Values in parallel with the interactions, [interactions], as a ragged array of num_users parts."""
        bounds = self.bounds()
        return RaggedArray(values=values, start=bounds[:-1], end=bounds[1:])

    def bounds(self) -> Int64[Longs, " users_and_one"]:
        """Row offsets of users, [num_users + 1]: user u has the rows bounds[u] to bounds[u + 1]."""
        return np.searchsorted(self.user, np.arange(self.num_users + 1)).astype(np.int64)


def check_enough(interactions: Interactions, config: DataConfig) -> None:
    """DataError E203 for fewer users, items with an interaction, or interactions than `config` requires for training."""
    check_counts(interactions.num_users, int(np.count_nonzero(np.bincount(interactions.item))), len(interactions.item), config)


def check_counts(num_users: int, num_items: int, num_interactions: int, config: DataConfig) -> None:
    """DataError E203 for counts below `min_users`, `min_items` or `min_interactions` of `config`."""
    counts = {
        "users": (num_users, config.min_users),
        "items": (num_items, config.min_items),
        "interactions": (num_interactions, config.min_interactions),
    }
    too_few = {name: found for name, (found, least) in counts.items() if found < least}
    if too_few:
        name, found = next(iter(too_few.items()))
        message = f"{found} {name} are too few to train on, the recipe requires at least {counts[name][1]}"
        raise DataError("E203", message, remedy=_remedy(too_few))


def _remedy(too_few: Mapping[str, int]) -> str:
    """What to do about too few users, items or interactions; a trial needs one of each."""
    overrides = json.dumps({"data": {f"min_{name}": max(1, found) for name, found in too_few.items()}})
    return f"Ingest more events, or for a trial: --overrides {shlex.quote(overrides)}"
