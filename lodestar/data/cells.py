"""Ratings of items by users as cells of a table, U users by I items."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Cells:
    """In parallel: who rated what, how, and when (UTC seconds)."""

    user: Ints
    item: Ints
    value: Floats
    time_s: Ints

    def __len__(self) -> int:
        return len(self.user)

    def part(self, chosen: NDArray[np.bool_]) -> Self:
        """Some of them."""
        return type(self)(user=self.user[chosen], item=self.item[chosen], value=self.value[chosen], time_s=self.time_s[chosen])

    def table(self, num_users: int, num_items: int) -> Floats:
        """The ratings as a table [U, I], NaN where there is none."""
        found = np.full((num_users, num_items), np.nan)
        found[self.user, self.item] = self.value
        return found
