"""Filtered items of evaluation cases: what serving would not recommend at a case's cutoff, by the same rules of feedback."""

import numpy as np
from numpy.typing import NDArray

from lodestar.data.split.interactions import Interactions
from lodestar.data.split.ragged_array import RaggedArray
from lodestar.schema.arrays import Int64, Integer, Longs
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import SECOND_US

Pairs = NDArray[np.int64]  # of a case (high 32 bits) and an item
ITEM_BITS = 32


def has_filters(interactions: Interactions, rules: Feedback) -> bool:
    """Whether what is filtered is more or less than the items of a history."""
    return len(interactions.filters) > 0 or not rules.filters_history


def filtered_items(
    interactions: Interactions,
    rules: Feedback,
    users: Integer[Longs, " cases"],
    before: Int64[Longs, " cases"],
    now_us: Int64[Longs, " cases"],
) -> RaggedArray[np.int32]:
    """Items that are not recommended to each of the users at a time (UTC µs), ascending: refused, or seen and not to come again.

    A case's history is the first `before` interactions of its user.
    """
    gap_us = int(rules.repeat_gap_s * SECOND_US) if rules.consumption == "repeat" else None
    history = interactions.histories().select(users).head(before)
    case = np.repeat(np.arange(len(users)), history.lengths)
    blocks = _seen(interactions, users, before)
    if gap_us is not None:
        blocks &= now_us[case] - interactions.by_user(interactions.time).select(users).head(before).flat() < gap_us
    filters, case_of = interactions.filters, np.full(interactions.num_users, -1)
    case_of[users] = np.arange(len(users))
    filter_case = case_of[filters.user]
    applies = (filter_case >= 0) & (filters.time < now_us[filter_case])
    if gap_us is not None:
        applies &= filters.refused | (now_us[filter_case] - filters.time < gap_us)
    pairs = _pairs(np.concatenate([case[blocks], filter_case[applies]]), np.concatenate([history.flat()[blocks], filters.item[applies]]))
    return _ragged(np.unique(pairs), len(users))


def without_filtered(relevant: RaggedArray[np.int32], filtered: RaggedArray[np.int32]) -> RaggedArray[np.int32]:
    """Each case's relevant items once, in their order, without filtered ones: those can be in no list."""
    pairs = pairs_of(relevant)
    first = np.sort(np.unique(pairs, return_index=True)[1])
    kept = first[~np.isin(pairs[first], pairs_of(filtered))]
    return _ragged(pairs[kept], len(relevant))


def pairs_of(items: RaggedArray[np.int32]) -> Pairs:
    """Pairs of case and item of a ragged array of items."""
    return _pairs(np.repeat(np.arange(len(items)), items.lengths), items.flat())


def refused_before(interactions: Interactions, begins_us: Int64[Longs, " users"]) -> RaggedArray[np.int32]:
    """Items that each user had refused before a time (UTC µs)."""
    filters = interactions.filters
    chosen = filters.refused & (filters.time < begins_us[filters.user])
    return _ragged(_pairs(filters.user[chosen].astype(np.int64), filters.item[chosen]), interactions.num_users)


def _seen(interactions: Interactions, users: NDArray[np.integer], before: Longs) -> NDArray[np.bool_]:
    """Whether each interaction of the histories made its item seen, [interactions of all histories]; a copy."""
    if len(interactions.seen) == 0:
        return np.ones(int(before.sum()), dtype=np.bool_)
    return interactions.by_user(interactions.seen).select(users).head(before).flat().copy()


def _pairs(case: NDArray[np.integer], item: NDArray[np.integer]) -> Pairs:
    return case.astype(np.int64) << ITEM_BITS | item


def _ragged(pairs: Pairs, num_cases: int) -> RaggedArray[np.int32]:
    """The items of pairs that are sorted by case."""
    bounds = np.searchsorted(pairs >> ITEM_BITS, np.arange(num_cases + 1))
    items = (pairs & ((1 << ITEM_BITS) - 1)).astype(np.int32)
    return RaggedArray(values=items, start=bounds[:-1], end=bounds[1:])
