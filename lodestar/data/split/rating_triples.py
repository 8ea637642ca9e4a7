"""Rating triples: user, item, value and time of each rating; U users, I items."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class RatingTriples:
    """Ratings as arrays in parallel: user index, item index, value and time (UTC seconds)."""

    user: Ints
    item: Ints
    value: Floats
    time_s: Ints

    def __len__(self) -> int:
        return len(self.user)

    def part(self, chosen: NDArray[np.bool_]) -> Self:
        """The ratings where a boolean mask holds."""
        return type(self)(user=self.user[chosen], item=self.item[chosen], value=self.value[chosen], time_s=self.time_s[chosen])

    def table(self, num_users: int, num_items: int) -> Floats:
        """The rating matrix, [U, I], NaN where there is no rating."""
        matrix = np.full((num_users, num_items), np.nan)
        matrix[self.user, self.item] = self.value
        return matrix
