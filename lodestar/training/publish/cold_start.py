"""Cold-start list: popularity over the recent window or half-life that best predicts interactions of past new users.

Window and half-life are chosen by NDCG@10 on users whose first event lies in the last part of the log. Letters in shapes: U new users.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import training_end
from lodestar.metrics.ndcg import CUTOFF, ndcg
from lodestar.models.closed_form.popularity import RECENCY_GRID, Popularity
from lodestar.progress import log_event
from lodestar.schema.arrays import Float32, Floats
from lodestar.schema.time_units import NEVER

MIN_USERS = 50  # new users needed for a choice; with fewer, popularity of all time is used


def fit_cold_start_popularity(interactions: Interactions, config: DataConfig) -> Float32[Floats, " items"]:
    """Popularity of each item for cold-start users, float32 [items], with the window or half-life chosen on past new users."""
    cutoff_us = training_end(lambda: [interactions.time], NEVER, replace(config, split="time"))
    first_U = interactions.time[interactions.bounds()[:-1]]
    new_users = np.flatnonzero(first_U >= cutoff_us)
    hyperparameters: Mapping[str, float] = {}
    if len(new_users) >= MIN_USERS:
        earlier = interactions.time < cutoff_us
        quality = [_ndcg(_popularity(interactions, candidate, earlier), interactions, new_users) for candidate in ({}, *RECENCY_GRID)]
        hyperparameters = ({}, *RECENCY_GRID)[int(np.argmax(quality))]
        log_event(
            "cold_start", users=len(new_users), ndcg_at_10=round(max(quality), 5), of_all_time=round(quality[0], 5), **hyperparameters
        )
    return _popularity(interactions, hyperparameters, np.ones(len(interactions.item), dtype=np.bool_))


def _popularity(interactions: Interactions, hyperparameters: Mapping[str, float], chosen: NDArray[np.bool_]) -> Floats:
    weights = [interactions.weight[chosen]] if len(interactions.weight) else []
    fitted = Popularity(**hyperparameters).fit([interactions.item[chosen]], interactions.num_items, weights, [interactions.time[chosen]])
    return fitted.counts


def _ndcg(counts: Floats, interactions: Interactions, users: NDArray[np.int64]) -> float:
    """Mean NDCG@10 of the one list for these users, all their interactions being relevant."""
    rank_N = np.full(interactions.num_items, CUTOFF)
    top = np.argsort(-counts, kind="stable")[:CUTOFF]
    rank_N[top] = np.arange(len(top))
    is_relevant = np.isin(interactions.user, users)
    _, user = np.unique(interactions.user[is_relevant], return_inverse=True)
    return float(ndcg(rank_N[interactions.item[is_relevant]], user, np.bincount(user)).mean())
