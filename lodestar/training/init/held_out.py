"""Warm start beside a split: cases whose held-out items the weights were trained on would validate and test what is known by heart."""

from datetime import UTC, datetime

import numpy as np

from lodestar.config import DataConfig
from lodestar.data.split.splits import EvalCases, Split
from lodestar.errors import UsageError
from lodestar.progress import log_event
from lodestar.schema.time_units import SECOND_US
from lodestar.training.loop.weights import Weights

CODE, REMEDY = "E193", "train with later events, or without train.warm_start"


def unknown_cases(weights: Weights, split: Split, config: DataConfig) -> EvalCases:
    """The validation cases whose relevant items are later than all events that the weights were trained on.

    With leave-one-out the test items are unknown too where the bundle's log was an earlier state of this one: it held out the last item of
    each user, and trained on all of a user with fewer than three. UsageError E193 for weights of another split, which held out other items,
    or where nothing is left to validate on.
    """
    if weights.split != config.split:
        theirs = weights.split or "of an older version"
        message = f"the warm start bundle was trained by the split {theirs}, and may know test items of the split {config.split}"
        raise UsageError(f"{message}: train it by this split, or {REMEDY}", code=CODE)
    last_us, cutoffs_us = weights.last_trained_us, split.validation.cutoff_us
    if config.split == "time":
        first_us = min(cutoffs_us.min(initial=np.iinfo(np.int64).max), split.test.cutoff_us.min(initial=np.iinfo(np.int64).max))
        if last_us > first_us:
            known, held_out = _time(last_us), _time(int(first_us))
            message = f"the warm start bundle was trained on events up to {known}, and the items after {held_out} are held out"
            raise UsageError(f"{message}: {REMEDY}", code=CODE)
        return split.validation
    is_unknown = cutoffs_us >= last_us
    if len(split.validation) and not is_unknown.any():
        message = f"no user has a validation item after {_time(last_us)}, the last event that the warm start bundle was trained on"
        raise UsageError(f"{message}: {REMEDY}", code=CODE)
    if not is_unknown.all():
        log_event("warm start", validation_users=int(is_unknown.sum()), known_validation_items=int((~is_unknown).sum()))
    return split.validation.select(np.flatnonzero(is_unknown))


def _time(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us // SECOND_US, UTC):%Y-%m-%d %H:%M:%S} UTC"
