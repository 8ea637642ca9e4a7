"""Items that most users who gave an opinion refuse: they are recommended to nobody, on no path.

A model that never saw an item liked scores it at random, so an item that everybody gave one star could come first.
"""

import numpy as np

from lodestar.config import DataConfig
from lodestar.data.split.ragged_array import from_lists
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.schema.arrays import Bool, Doubles, Flags, Float64, Int64, Longs
from lodestar.schema.time_units import NEVER

Z = 1.96  # of a 95 % interval


def mostly_refused(features: FeatureSet, config: DataConfig) -> Bool[Flags, " items"]:
    """Whether each item is refused by most, by what was known before the test: the lower bound of its share of refusals is above one half.

    Four refusals without a like are enough, and a tie never is.
    """
    others, count = features.interactions.filters, len(features.items)
    if len(others.other_item) == 0 and not others.refused.any():
        return np.zeros(count, dtype=np.bool_)
    split = features.split(config)
    cutoff_us = int(split.test.cutoff_us.max(initial=NEVER)) if config.split == "time" else np.iinfo(np.int64).max
    likes = np.bincount(split.before_test.flat(), minlength=count)
    refusals = np.bincount(others.other_item[others.other_time <= cutoff_us], minlength=count)
    if len(split.refused[1]):
        refusals = refusals + np.bincount(from_lists(split.refused[1]).flat(), minlength=count)
    return _lower_bound(refusals, likes + refusals) > 0.5


def _lower_bound(successes: Int64[Longs, " items"], trials: Int64[Longs, " items"]) -> Float64[Doubles, " items"]:
    """Lower bound of the Wilson score interval of a share (Wilson, JASA 1927); 0 without trials."""
    n = np.maximum(trials, 1)
    share = successes / n
    margin = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return np.where(trials > 0, (share + Z**2 / (2 * n) - margin) / (1 + Z**2 / n), 0.0)
