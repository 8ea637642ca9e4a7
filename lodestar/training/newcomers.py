"""What those are shown of whom nothing is known: what is popular at the end of the log, as far back as newcomers themselves tell.

Users U who came in the log's last part are asked which counts of what lay before would have shown them what they then took.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig
from lodestar.data.interactions import Interactions
from lodestar.data.splits import training_end
from lodestar.models.counts import Floats
from lodestar.models.popularity import Popularity
from lodestar.models.retriever import LATELY, Setting
from lodestar.progress import log_event

CUTOFF = 10
LEAST_ASKED = 50  # newcomers; fewer tell nothing


def popularity(taken: Interactions, config: DataConfig) -> Floats:
    """How popular each item is now, [items]."""
    begins = training_end(lambda: [taken.time], 0, replace(config, split="time"))
    first_U = taken.time[taken.bounds()[:-1]]
    newcomers = np.flatnonzero(first_U >= begins)
    setting: Setting = {}
    if len(newcomers) >= LEAST_ASKED:
        earlier = taken.time < begins
        quality = [_ndcg(_counts(taken, tried, earlier), taken, newcomers) for tried in ({}, *LATELY)]
        setting = ({}, *LATELY)[int(np.argmax(quality))]
        log_event("newcomers", users=len(newcomers), ndcg_at_10=round(max(quality), 5), of_all_time=round(quality[0], 5), **setting)
    return _counts(taken, setting, np.ones(len(taken.item), dtype=np.bool_))


def _counts(taken: Interactions, setting: Setting, chosen: NDArray[np.bool_]) -> Floats:
    return Popularity(**setting).fit([taken.item[chosen]], taken.num_items, [taken.time[chosen]]).counts


def _ndcg(counts: Floats, taken: Interactions, users: NDArray[np.int64]) -> float:
    """NDCG@10 of the same list for all of these users, with whatever they took as what was to be found."""
    gain = np.zeros(taken.num_items)
    shown = np.argsort(-counts, kind="stable")[:CUTOFF]
    gain[shown] = _gains(len(shown))
    is_theirs = np.isin(taken.user, users)
    found_U = np.bincount(taken.user[is_theirs], gain[taken.item[is_theirs]], taken.num_users)[users]
    wanted_U = np.bincount(taken.user[is_theirs], minlength=taken.num_users)[users]
    most_U = np.cumsum(_gains(CUTOFF))[np.minimum(wanted_U, CUTOFF) - 1]
    return float((found_U / most_U).mean())


def _gains(count: int) -> NDArray[np.float64]:
    gains: NDArray[np.float64] = 1 / np.log2(np.arange(count) + 2)
    return gains
