"""Interactions as arrays: who wanted what and when, as small integers in the order they happened.

A user's repeated interactions with an item count once, the first: a seen item is never recommended again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig
from lodestar.data.histories import Histories, Number
from lodestar.errors import DataError

Items = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Interactions:
    """`user`, `item` and `time` (UTC µs) run in parallel, by user, then time, then the order of the file.

    `users` holds those with an interaction, in the order they first appear; `items` is the whole catalogue, in its order.
    """

    users: list[str]
    items: list[str]
    user: Items
    item: Items
    time: NDArray[np.int64]

    @property
    def num_users(self) -> int:
        return len(self.users)

    @property
    def num_items(self) -> int:
        return len(self.items)

    def histories(self) -> Histories[np.int32]:
        """Each user's items, oldest first."""
        return self.by_user(self.item)

    def by_user(self, values: NDArray[Number]) -> Histories[Number]:
        """What runs in parallel with them, by user."""
        bounds = self.bounds()
        return Histories(values=values, start=bounds[:-1], end=bounds[1:])

    def bounds(self) -> NDArray[np.int64]:
        """Where each user's rows start, and where the last one's end, [num_users + 1]."""
        return np.searchsorted(self.user, np.arange(self.num_users + 1)).astype(np.int64)


def check_enough(interactions: Interactions, config: DataConfig) -> None:
    """DataError E201 where there are too few users, items with an interaction, or interactions to learn from."""
    check_counts(interactions.num_users, int(np.count_nonzero(np.bincount(interactions.item))), len(interactions.item), config)


def check_counts(num_users: int, num_items: int, num_interactions: int, config: DataConfig) -> None:
    """The same, where they have been counted already."""
    counts = {
        "users": (num_users, config.min_users),
        "items": (num_items, config.min_items),
        "interactions": (num_interactions, config.min_interactions),
    }
    for name, (found, least) in counts.items():
        if found < least:
            message = f"{found} {name} are too few to learn from, the recipe asks for at least {least}"
            raise DataError("E201", message, remedy=f"Bring more events, or lower data.min_{name} for a trial.")
