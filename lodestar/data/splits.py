"""Split interactions by time: the past trains, the future judges.

A random split would let the model see next week's choices while it is asked to predict them.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig
from lodestar.data import gaps
from lodestar.data.interactions import Interactions, Items

Times = NDArray[np.int64]  # UTC µs

HOUR_US = 3_600_000_000
SHORTEST_JUDGED = 3  # one item to learn from, one to validate, one to test


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Questions with their answers, in parallel: a user, the items before (newest last) and the items to find.

    `moment` is the last one (UTC µs) of which anything may be known, and `time` when each item of a history was taken, where that is known.
    `left_out` counts users with an answer but nothing before it: there is nothing to predict from.
    """

    user: NDArray[np.int32]
    history: list[Items]
    relevant: list[Items]
    moment: Times = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    time: list[Times] = field(default_factory=list)
    left_out: int = 0

    def dated(self) -> Self:
        """The same with the pace of each history (see `lodestar.data.gaps`), for models that look at time."""
        paced: list[NDArray[Any]] = [gaps.dated(items, gaps.between(time)) for items, time in zip(self.history, self.time, strict=True)]
        return replace(self, history=paced)

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class Split:
    """`train` holds one sequence per user, oldest first, and may hold empty ones; `moments` all of a user's, of which it has the first."""

    train: list[Items]
    validation: Cases
    test: Cases
    moments: list[Times]

    def before_test(self) -> list[Items]:
        """Every user's training items and then those of validation: all that may be known when the test is judged."""
        sequences = list(self.train)
        for user, relevant in zip(self.validation.user, self.validation.relevant, strict=True):
            sequences[user] = np.concatenate([sequences[user], relevant])
        return sequences


def split(interactions: Interactions, config: DataConfig) -> Split:
    """Train, validation and test; they share no interaction, and no history holds anything later than its answer."""
    found = _by_time(interactions, config) if config.split == "time" else _leave_one_out(interactions)
    return replace(found, validation=_timed(found.validation, interactions), test=_timed(found.test, interactions))


def _timed(cases: Cases, interactions: Interactions) -> Cases:
    """With the times of its histories, each of which is the beginning of its user's."""
    begins = interactions.bounds()[:-1]
    times = [interactions.time[begins[user] :][: len(history)] for user, history in zip(cases.user, cases.history, strict=True)]
    return replace(cases, time=times)


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
    """What `_moment` finds in all times put in order, by counting hours first."""
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
    histories, moments = interactions.histories(), interactions.moments()
    judged = [user for user, items in enumerate(histories) if len(items) >= SHORTEST_JUDGED]
    ends = interactions.bounds()[1:][judged]
    return Split(
        train=[items[:-2] if len(items) >= SHORTEST_JUDGED else items for items in histories],
        validation=_cases(judged, [(histories[user][:-2], histories[user][-2:-1]) for user in judged], interactions.time[ends - 2]),
        test=_cases(judged, [(histories[user][:-1], histories[user][-1:]) for user in judged], interactions.time[ends - 1]),
        moments=moments,
    )


def _by_time(interactions: Interactions, config: DataConfig) -> Split:
    """Two moments cut the log so that each window holds its share of the interactions; equal times stay together."""
    times = np.sort(interactions.time)
    first = _moment(times, config.test_share + config.validation_share)
    second = _moment(times, config.test_share)
    histories, moments = interactions.histories(), interactions.moments()
    cuts = [(int(np.searchsorted(time, first)), int(np.searchsorted(time, second))) for time in moments]
    return Split(
        train=[items[:start] for items, (start, _) in zip(histories, cuts, strict=True)],
        validation=_window([(items[:start], items[start:stop]) for items, (start, stop) in zip(histories, cuts, strict=True)], first),
        test=_window([(items[:stop], items[stop:]) for items, (_, stop) in zip(histories, cuts, strict=True)], second),
        moments=moments,
    )


def _moment(times: Times, share_after: float) -> int:
    return int(times[_place(len(times), share_after)]) if len(times) else 0


def _place(count: int, share_after: float) -> int:
    return min(int(count * (1 - share_after)), count - 1)


def _window(pairs: list[tuple[Items, Items]], begins: int) -> Cases:
    judged = [user for user, (history, relevant) in enumerate(pairs) if len(history) and len(relevant)]
    asked = sum(1 for _, relevant in pairs if len(relevant))
    return _cases(judged, [pairs[user] for user in judged], np.full(len(judged), begins), left_out=asked - len(judged))


def _cases(users: list[int], pairs: list[tuple[Items, Items]], begins: Times, left_out: int = 0) -> Cases:
    return Cases(
        user=np.asarray(users, dtype=np.int32),
        history=[history for history, _ in pairs],
        relevant=[relevant for _, relevant in pairs],
        moment=begins.astype(np.int64) - 1,
        left_out=left_out,
    )
