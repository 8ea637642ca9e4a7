"""Rating triples: user, item, value and time of each rating; U users, I items."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from lodestar.schema.arrays import Bool, Doubles, Flags, Float64, Int64, Longs


@dataclass(frozen=True, kw_only=True)
class RatingTriples:
    """Ratings as arrays in parallel: user index, item index, value and time (UTC µs)."""

    user: Int64[Longs, " ratings"]
    item: Int64[Longs, " ratings"]
    value: Float64[Doubles, " ratings"]
    time_us: Int64[Longs, " ratings"]

    def __len__(self) -> int:
        return len(self.user)

    def part(self, chosen: Bool[Flags, " ratings"]) -> Self:
        """The ratings where a boolean mask holds."""
        return type(self)(user=self.user[chosen], item=self.item[chosen], value=self.value[chosen], time_us=self.time_us[chosen])

    def table(self, num_users: int, num_items: int) -> Float64[Doubles, "{num_users} {num_items}"]:
        """The rating matrix, [U, I], NaN where there is no rating."""
        matrix = np.full((num_users, num_items), np.nan)
        matrix[self.user, self.item] = self.value
        return matrix
