"""Split interactions by time into train, validation and test: a cutoff for all users, or leave-one-out.

A random split would leak: the model would train on next week's interactions and be evaluated on this week's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle import timed_items
from lodestar.config import DataConfig, EvaluationConfig
from lodestar.data.split import filters
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.ragged_array import RaggedArray, from_lists
from lodestar.progress import log_event
from lodestar.schema.arrays import Float32, Floats, Int, Int32, Int64, Integer, Ints, Longs
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.schema.time_units import HOUR_US, NEVER

AT_ONCE = 1 << 20
MIN_EVALUATED_USERS = 1_000  # sampled at least: a confidence interval of NDCG@10 is then some 0.03 wide
MIN_HISTORY = 3  # one item each to train, validate and test


@dataclass(frozen=True, kw_only=True)
class EvalCases:
    """Evaluation cases, in parallel: user index, history (item indices, newest last) and relevant items, which are to be predicted.

    `cutoff_us` (UTC µs) is the last time of which anything may be known; `time` holds the times of each history's interactions, or nothing.
    `left_out` counts cold-start users, who have relevant items but no history to predict from. `filtered` are the items that may not be
    recommended then, ascending; empty where they are those of the history.
    """

    user: Int32[Ints, " cases"]
    history: Sequence[Integer[Ints, "_"]]
    relevant: Sequence[Integer[Ints, "_"]]
    cutoff_us: Int64[Longs, " cases_or_none"] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    time: Sequence[Int64[Longs, "_"]] = ()
    left_out: int = 0
    filtered: Sequence[Integer[Ints, "_"]] = ()

    @property
    def excluded(self) -> Sequence[Integer[Ints, "_"]]:
        """The items that may not be recommended, by case; packed with time gaps where the history is and filters."""
        return self.filtered if len(self.filtered) else self.history

    def with_time_gaps(self) -> Self:
        """The cases with histories that pack time gaps (see `lodestar.bundle.timed_items`), for time-aware models."""
        packed: list[NDArray[Any]] = [
            timed_items.pack(items, timed_items.seconds_between(time)) for items, time in zip(self.history, self.time, strict=True)
        ]
        return replace(self, history=packed)

    def select(self, which: Int[NDArray[np.intp], " chosen"]) -> Self:
        """The cases at the given indices, in their order."""
        history, relevant, time, filtered = (_select(parts, which) for parts in (self.history, self.relevant, self.time, self.filtered))
        cutoff_us = self.cutoff_us[which] if len(self.cutoff_us) else self.cutoff_us
        return replace(self, user=self.user[which], history=history, relevant=relevant, time=time, cutoff_us=cutoff_us, filtered=filtered)

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Train, validation and test: `train` holds one sequence of item indices per user, oldest first, which may be empty.

    `before_test` holds all that may be known for the test: `train`, the validation items, and with a split by time the interactions of
    users who come first in the validation part. `times_us` holds the times (UTC µs) of all of a user's interactions; the items of `train`
    and `before_test` have the first of them, and so with `weights`, empty where all weigh 1.
    `refused` are the items that users refused, before validation and before the test.
    """

    train: RaggedArray[np.int32]
    before_test: RaggedArray[np.int32]
    validation: EvalCases
    test: EvalCases
    times_us: RaggedArray[np.int64]
    weights: Sequence[Float32[Floats, "_"]] = ()
    refused: tuple[Sequence[Integer[Ints, "_"]], Sequence[Integer[Ints, "_"]]] = ((), ())


def split(interactions: Interactions, config: DataConfig, rules: Feedback = BINARY) -> Split:
    """Split into train, validation and test by `config.split`: "time" or leave-one-out.

    The parts share no interaction, and no history holds an interaction later than the relevant items. What is filtered and what may be
    relevant follows the rules of feedback.
    """
    return _by_time(interactions, config, rules) if config.split == "time" else _leave_one_out(interactions, rules)


def affordable(cases: EvalCases, num_items: int, config: EvaluationConfig, part: str) -> EvalCases:
    """Sample evaluation cases so that cases times items is at most `max_scores`; logged as `sampled` where it drops any.

    The sample is drawn by the seed and keeps the order. At least MIN_EVALUATED_USERS are kept, whatever `max_scores`: fewer cannot tell
    models apart.
    """
    most = max(MIN_EVALUATED_USERS, config.max_scores // max(1, num_items))
    if len(cases) <= most:
        return cases
    log_event("sampled", part=part, users=most, of=len(cases), items=num_items)
    return cases.select(np.sort(np.random.default_rng(config.seed).permutation(len(cases))[:most]))


def training_cutoffs(num_users: int, cases: EvalCases, *, by_time: bool) -> Int64[Longs, "{num_users}"]:
    """Training cutoff of each user (UTC µs), [num_users]: training on interactions before it uses none of the cases' relevant items."""
    cutoffs_us = np.full(num_users, np.iinfo(np.int64).max)
    if by_time and len(cases):
        cutoffs_us[:] = cases.cutoff_us[0]
    cutoffs_us[cases.user] = cases.cutoff_us
    return cutoffs_us


def training_end(blocks: Callable[[], Iterable[Int64[Longs, "_"]]], last_trained: int, config: DataConfig) -> int:
    """Training cutoff (UTC µs) of the whole log; statistics are scaled by the interactions before it.

    Each call of `blocks` iterates over all times, in blocks of any order. `last_trained` is the result of `last_trained` (leave-one-out).
    """
    return _time_quantile(blocks, config.test_share + config.validation_share) if config.split == "time" else last_trained + 1


def last_trained(user: Int32[Ints, " interactions"], time: Int64[Longs, " interactions"]) -> int:
    """Time (UTC µs) of the latest training interaction under leave-one-out; rows are sorted by user, then time. NEVER without rows."""
    ends = np.append(np.flatnonzero(np.diff(user)), len(user) - 1) if len(user) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(ends, prepend=-1)
    last = ends - np.where(lengths >= MIN_HISTORY, MIN_HISTORY - 1, 0)
    return int(time[last].max(initial=NEVER))


def validation_times(
    user: Int32[Ints, " interactions"], time: Int64[Longs, " interactions"]
) -> tuple[Int32[Ints, " evaluated"], Int64[Longs, " evaluated"]]:
    """Users with a validation item under leave-one-out, and its time (UTC µs); rows are sorted by user, then time."""
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    is_evaluated = np.diff(starts, append=len(user)) >= MIN_HISTORY
    rows = np.append(starts[1:], len(user))[is_evaluated] - 2 if len(starts) else starts
    return user[rows], time[rows]


def _time_quantile(blocks: Callable[[], Iterable[Longs]], share_after: float) -> int:
    """The time with the given share of all times after it, found by counts per hour in a first pass; NEVER without any."""
    hours: Counter[int] = Counter()
    for block in blocks():
        found, counts = np.unique(block // HOUR_US, return_counts=True)
        hours.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    index = _quantile_index(hours.total(), share_after)
    for hour in sorted(hours):
        if index < hours[hour]:
            within = np.concatenate([block[block // HOUR_US == hour] for block in blocks()])
            return int(np.sort(within)[index])
        index -= hours[hour]
    return NEVER


def _leave_one_out(interactions: Interactions, rules: Feedback) -> Split:
    """Each user's last item is the test, the one before the validation; users with fewer than three items only train."""
    whole = interactions.by_user(interactions.time)
    is_evaluated = whole.lengths >= MIN_HISTORY
    trained, known = whole.lengths - 2 * is_evaluated, whole.lengths - is_evaluated
    begins = [whole.values[np.minimum(whole.start + lengths, whole.end - 1)] for lengths in (trained, known)]
    return _cut(interactions, (trained, known), begins, rules)


def _by_time(interactions: Interactions, config: DataConfig, rules: Feedback) -> Split:
    """Two cutoffs for all users, so that each part holds its share of the interactions; equal times stay together."""
    whole = interactions.by_user(interactions.time)
    times = whole.values
    shares = (config.test_share + config.validation_share, config.test_share)
    cutoffs = [_time_quantile(lambda: _blocks(times), share) for share in shares]
    trained, known = (np.add.reduceat(times < cutoff, whole.start, dtype=np.int64) for cutoff in cutoffs)
    return _cut(interactions, (trained, known), [np.full(len(whole), cutoff) for cutoff in cutoffs], rules)


def _cut(interactions: Interactions, lengths: tuple[Longs, Longs], begins: Sequence[Longs], rules: Feedback) -> Split:
    """Cut each user's history at two lengths (train, before test); `begins` are the times at which validation and test begin, by user."""
    whole, (trained, known) = interactions.histories(), lengths
    return Split(
        train=whole.head(trained),
        before_test=whole.head(known),
        validation=_cases(interactions, trained, known, begins[0], rules),
        test=_cases(interactions, known, whole.lengths, begins[1], rules),
        times_us=interactions.by_user(interactions.time),
        weights=_weights(interactions, trained),
        refused=(filters.refused_before(interactions, begins[0]), filters.refused_before(interactions, begins[1]))
        if interactions.filters.refused.any()
        else ((), ()),
    )


def _cases(interactions: Interactions, before: Longs, until: Longs, begins: Longs, rules: Feedback) -> EvalCases:
    """Cases of users with a history: the first `before` items predict the items up to `until`."""
    whole, times = interactions.histories(), interactions.by_user(interactions.time)
    has_relevant = until > before
    users = np.flatnonzero(has_relevant & (before > 0))
    cases = EvalCases(
        user=users.astype(np.int32),
        history=whole.head(before).select(users),
        relevant=whole.head(until).skip(before).select(users),
        time=times.head(before).select(users),
        cutoff_us=begins[users] - 1,
        left_out=int(has_relevant.sum()) - len(users),
    )
    if len(users) == 0 or not filters.has_filters(interactions, rules):
        return cases
    filtered = filters.filtered_items(interactions, rules, users, before[users], begins[users])
    relevant = filters.without_filtered(from_lists(cases.relevant), filtered)
    return replace(cases, filtered=filtered, relevant=relevant).select(np.flatnonzero(relevant.lengths))


def _weights(interactions: Interactions, trained: Longs) -> Sequence[NDArray[np.float32]]:
    """Weights of the interactions, 1 on average in training, so that a regularisation means the same; empty where all are equal."""
    weight = interactions.weight
    if len(weight) == 0 or weight.min() == weight.max():
        return ()
    of_training = interactions.by_user(weight).head(trained).flat()
    return interactions.by_user(weight / of_training.mean()) if len(of_training) else ()


def _select(parts: Sequence[NDArray[Any]], which: NDArray[np.intp]) -> Sequence[NDArray[Any]]:
    if isinstance(parts, RaggedArray):
        return parts.select(which)
    return [parts[index] for index in which.tolist()] if len(parts) else parts


def _quantile_index(count: int, share_after: float) -> int:
    return min(int(count * (1 - share_after)), count - 1)


def _blocks(times: Longs) -> Iterable[Longs]:
    return (times[start : start + AT_ONCE] for start in range(0, len(times), AT_ONCE))
