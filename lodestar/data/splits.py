"""Split interactions by time: the past trains, the future judges.

A random split would let the model see next week's choices while it is asked to predict them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig, EvaluationConfig
from lodestar.data import gaps
from lodestar.data.histories import Histories
from lodestar.data.interactions import Interactions, Items
from lodestar.progress import log_event

Times = NDArray[np.int64]  # UTC µs

HOUR_US = 3_600_000_000
AT_ONCE = 1 << 20
FEWEST_JUDGED = 1_000  # users that are drawn at least: an interval of NDCG@10 is then some 0.03 wide
SHORTEST_JUDGED = 3  # one item to learn from, one to validate, one to test


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Questions with their answers, in parallel: a user, the items before (newest last) and the items to find.

    `moment` is the last one (UTC µs) of which anything may be known, and `time` when each item of a history was taken, where that is known.
    `left_out` counts users with an answer but nothing before it: there is nothing to predict from.
    """

    user: NDArray[np.int32]
    history: Sequence[Items]
    relevant: Sequence[Items]
    moment: Times = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    time: Sequence[Times] = ()
    left_out: int = 0

    def dated(self) -> Self:
        """The same with the pace of each history (see `lodestar.data.gaps`), for models that look at time."""
        paced: list[NDArray[Any]] = [gaps.dated(items, gaps.between(time)) for items, time in zip(self.history, self.time, strict=True)]
        return replace(self, history=paced)

    def chosen(self, which: NDArray[np.intp]) -> Self:
        """Some of the cases."""
        history, relevant, time = (_some(parts, which) for parts in (self.history, self.relevant, self.time))
        moment = self.moment[which] if len(self.moment) else self.moment
        return replace(self, user=self.user[which], history=history, relevant=relevant, time=time, moment=moment)

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class Split:
    """`train` holds one sequence per user, oldest first, and may hold empty ones.

    `before_test` goes on with the items of validation: all that may be known when the test is judged. Of `moments`, which are all of a
    user's, either has the first.
    """

    train: Histories[np.int32]
    before_test: Histories[np.int32]
    validation: Cases
    test: Cases
    moments: Histories[np.int64]


def split(interactions: Interactions, config: DataConfig) -> Split:
    """Train, validation and test; they share no interaction, and no history holds anything later than its answer."""
    return _by_time(interactions, config) if config.split == "time" else _leave_one_out(interactions)


def affordable(cases: Cases, num_items: int, config: EvaluationConfig, part: str) -> Cases:
    """The cases, or as many of them, drawn by the seed, as give no more than `max_scores` scores of items; that is logged.

    FEWEST_JUDGED are kept, or all where there are fewer, whatever `max_scores`: fewer tell no model from another.
    """
    most = max(FEWEST_JUDGED, config.max_scores // max(1, num_items))
    if len(cases) <= most:
        return cases
    log_event("sampled", part=part, users=most, of=len(cases), items=num_items)
    return cases.chosen(np.sort(np.random.default_rng(config.seed).permutation(len(cases))[:most]))


def last_moments(num_users: int, cases: Cases, *, by_time: bool) -> Times:
    """Before which moment (UTC µs) what a user did may be learnt from, so that nothing of the cases' part is."""
    until = np.full(num_users, np.iinfo(np.int64).max)
    if by_time and len(cases):
        until[:] = cases.moment[0]
    until[cases.user] = cases.moment
    return until


def training_end(blocks: Callable[[], Iterable[Times]], last_trained: int, config: DataConfig) -> int:
    """The moment (UTC µs) after which nothing may be learnt; statistics are scaled by what lies before it.

    `blocks` gives all times, some at a time and in any order, as often as it is called.
    """
    return _nth(blocks, config.test_share + config.validation_share) if config.split == "time" else last_trained + 1


def last_trained(user: Items, time: Times) -> int:
    """The latest moment that is trained on where each user's last items are left out; rows run by user, then time. 0 without any."""
    ends = np.append(np.flatnonzero(np.diff(user)), len(user) - 1) if len(user) else np.zeros(0, dtype=np.int64)
    lengths = np.diff(ends, prepend=-1)
    last = ends - np.where(lengths >= SHORTEST_JUDGED, SHORTEST_JUDGED - 1, 0)
    return int(time[last].max(initial=0))


def _nth(blocks: Callable[[], Iterable[Times]], share_after: float) -> int:
    """The moment after which that share of all times comes, by counting hours first; 0 without any."""
    hours: Counter[int] = Counter()
    for block in blocks():
        found, counts = np.unique(block // HOUR_US, return_counts=True)
        hours.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    place = _place(hours.total(), share_after)
    for hour in sorted(hours):
        if place < hours[hour]:
            within = np.concatenate([block[block // HOUR_US == hour] for block in blocks()])
            return int(np.sort(within)[place])
        place -= hours[hour]
    return 0


def _leave_one_out(interactions: Interactions) -> Split:
    """The last item of each user tests, the one before validates; a user with fewer than three only trains."""
    whole = interactions.by_user(interactions.time)
    is_judged = whole.lengths >= SHORTEST_JUDGED
    trained, known = whole.lengths - 2 * is_judged, whole.lengths - is_judged
    begins = [whole.values[np.minimum(whole.start + lengths, whole.end - 1)] for lengths in (trained, known)]
    return _cut(interactions, (trained, known), begins)


def _by_time(interactions: Interactions, config: DataConfig) -> Split:
    """Two moments cut the log so that each window holds its share of the interactions; equal times stay together."""
    whole = interactions.by_user(interactions.time)
    times = whole.values
    moments = [_nth(lambda: _blocks(times), share) for share in (config.test_share + config.validation_share, config.test_share)]
    trained, known = (np.add.reduceat(times < moment, whole.start, dtype=np.int64) for moment in moments)
    return _cut(interactions, (trained, known), [np.full(len(whole), moment) for moment in moments])


def _cut(interactions: Interactions, lengths: tuple[Times, Times], begins: Sequence[Times]) -> Split:
    """How many items of each user are trained on, and how many come before the test; and when the validation and the test part begin."""
    whole, (trained, known) = interactions.histories(), lengths
    return Split(
        train=whole.first(trained),
        before_test=whole.first(np.where(trained > 0, known, 0)),
        validation=_cases(interactions, trained, known, begins[0]),
        test=_cases(interactions, known, whole.lengths, begins[1]),
        moments=interactions.by_user(interactions.time),
    )


def _cases(interactions: Interactions, before: Times, until: Times, begins: Times) -> Cases:
    """Of users with items from `before` on, and some before them."""
    whole, times = interactions.histories(), interactions.by_user(interactions.time)
    is_asked = until > before
    judged = np.flatnonzero(is_asked & (before > 0))
    return Cases(
        user=judged.astype(np.int32),
        history=whole.first(before).chosen(judged),
        relevant=whole.first(until).without_first(before).chosen(judged),
        time=times.first(before).chosen(judged),
        moment=begins[judged] - 1,
        left_out=int(is_asked.sum()) - len(judged),
    )


def _some(parts: Sequence[NDArray[Any]], which: NDArray[np.intp]) -> Sequence[NDArray[Any]]:
    if isinstance(parts, Histories):
        return parts.chosen(which)
    return [parts[place] for place in which.tolist()] if len(parts) else parts


def _place(count: int, share_after: float) -> int:
    return min(int(count * (1 - share_after)), count - 1)


def _blocks(times: Times) -> Iterable[Times]:
    return (times[start : start + AT_ONCE] for start in range(0, len(times), AT_ONCE))
