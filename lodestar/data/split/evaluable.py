"""Whether a log can be evaluated at all: checked before training, as no training mends it."""

from dataclasses import replace

import numpy as np

from lodestar.config import DataConfig
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import MIN_HISTORY, split
from lodestar.errors import DataError
from lodestar.schema.feedback import Feedback

BY_TIME = """--overrides '{"data": {"split": "time"}}'"""
LEAVE_ONE_OUT = """--overrides '{"data": {"split": "leave_one_out"}}'"""


def check_evaluable(interactions: Interactions, config: DataConfig, rules: Feedback) -> None:
    """DataError E204 if no user has both a history and a test item, with the split that gives test users, or that none does."""
    if len(split(interactions, config, rules).test):
        return
    lengths = np.diff(interactions.bounds())
    most = int(lengths.max(initial=0))
    raise_if_none_returns(most)
    by_time = config.split == "time"
    reason = (
        f"no user has interactions both in the last {config.test_share:.0%} of the log's time span and before"
        if by_time
        else f"leave-one-out needs a user with {MIN_HISTORY} interactions, and of {len(lengths):,} users the most active has {most:,}"
    )
    other = replace(config, split="leave_one_out" if by_time else "time")
    if len(split(interactions, other, rules).test):
        remedy = f"Split the log otherwise: {LEAVE_ONE_OUT if by_time else BY_TIME}."
    else:
        remedy = "The other split finds none either. Ingest more events of the same users."
    raise _not_evaluable(reason, remedy)


def raise_if_none_returns(most: int) -> None:
    """DataError E204 if the most active user has `most` = 1 interaction: no split and no smaller minimum helps then."""
    if most == 1:
        remedy = "No split helps, as nothing can be predicted from one interaction. Ingest a log in which users come back."
        raise _not_evaluable("each user has one interaction", remedy)


def _not_evaluable(reason: str, remedy: str) -> DataError:
    return DataError("E204", f"no user has both a history and a test item: {reason}", remedy=remedy)
