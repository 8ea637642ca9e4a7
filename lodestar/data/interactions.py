"""Interactions as arrays: who wanted what and when, as small integers in the order they happened.

A user's repeated interactions with an item count once, the first: a seen item is never recommended again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lodestar import schema
from lodestar.config import DataConfig
from lodestar.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

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

    def histories(self) -> list[Items]:
        """Each user's items, oldest first."""
        return np.split(self.item, self.bounds()[1:-1]) if self.users else []

    def bounds(self) -> NDArray[np.int64]:
        """Where each user's rows start, and where the last one's end, [num_users + 1]."""
        return np.searchsorted(self.user, np.arange(self.num_users + 1)).astype(np.int64)


def from_events(events: "pa.Table", items: "pa.Table") -> Interactions:
    """The positive events about items of the catalogue; an event whose item is not known yet waits for it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    catalogue = items[schema.ITEM_ID]
    item = pc.index_in(events[schema.ITEM_ID], value_set=catalogue)
    types = pa.array(sorted(schema.POSITIVE), pa.string())
    wanted = pc.and_(pc.is_in(events[schema.EVENT_TYPE], value_set=types), pc.is_valid(item))
    chosen = events.append_column("item", item).filter(wanted)
    encoded = chosen[schema.USER_ID].combine_chunks().dictionary_encode()
    user, item, time = _first_of_each(
        _numpy(encoded.indices, np.int32),
        _numpy(chosen["item"], np.int32),
        _numpy(chosen[schema.EVENT_TIME].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), np.int64),
    )
    return Interactions(users=encoded.dictionary.to_pylist(), items=catalogue.to_pylist(), user=user, item=item, time=time)


def check_enough(interactions: Interactions, config: DataConfig) -> None:
    """DataError E201 where there are too few users, items with an interaction, or interactions to learn from."""
    counts = {
        "users": (interactions.num_users, config.min_users),
        "items": (len(np.unique(interactions.item)), config.min_items),
        "interactions": (len(interactions.item), config.min_interactions),
    }
    for name, (found, least) in counts.items():
        if found < least:
            message = f"{found} {name} are too few to learn from, the recipe asks for at least {least}"
            raise DataError("E201", message, remedy=f"Bring more events, or lower data.min_{name} for a trial.")


def _first_of_each(user: Items, item: Items, time: NDArray[np.int64]) -> tuple[Items, Items, NDArray[np.int64]]:
    order = np.lexsort((time, user))
    user, item, time = user[order], item[order], time[order]
    pair = user.astype(np.int64) * (int(item.max(initial=0)) + 1) + item
    # `unique` names the first place of each pair, which is the earliest: the rows are already in the order of time.
    first = np.sort(np.unique(pair, return_index=True)[1])
    return user[first], item[first], time[first]


def _numpy(column: Any, dtype: type) -> NDArray[Any]:
    values: NDArray[Any] = np.asarray(column.to_numpy()).astype(dtype, copy=False)
    return values
