"""Split interactions by time: the past trains, the future judges.

A random split would let the model see next week's choices while it is asked to predict them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestar.config import DataConfig
from lodestar.data.interactions import Interactions, Items

SHORTEST_JUDGED = 3  # one item to learn from, one to validate, one to test


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Questions with their answers, in parallel: a user, the items before (newest last) and the items to find.

    `left_out` counts users with an answer but nothing before it: there is nothing to predict from.
    """

    user: NDArray[np.int32]
    history: list[Items]
    relevant: list[Items]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True, kw_only=True)
class Split:
    """`train` holds one sequence per user, oldest first, and may hold empty ones."""

    train: list[Items]
    validation: Cases
    test: Cases

    def before_test(self) -> list[Items]:
        """Every user's training items and then those of validation: all that may be known when the test is judged."""
        sequences = list(self.train)
        for user, relevant in zip(self.validation.user, self.validation.relevant, strict=True):
            sequences[user] = np.concatenate([sequences[user], relevant])
        return sequences


def split(interactions: Interactions, config: DataConfig) -> Split:
    """Train, validation and test; they share no interaction, and no history holds anything later than its answer."""
    return _by_time(interactions, config) if config.split == "time" else _leave_one_out(interactions)


def training_end(interactions: Interactions, config: DataConfig) -> int:
    """The moment (UTC µs) after which nothing may be learnt; statistics are scaled by what lies before it."""
    if config.split == "time":
        return _moment(np.sort(interactions.time), config.test_share + config.validation_share)
    bounds = interactions.bounds()
    lengths = np.diff(bounds)
    last = bounds[1:] - np.where(lengths >= SHORTEST_JUDGED, 3, 1)
    return int(interactions.time[last].max(initial=0)) + 1


def _leave_one_out(interactions: Interactions) -> Split:
    """The last item of each user tests, the one before validates; a user with fewer than three only trains."""
    histories = interactions.histories()
    judged = [user for user, items in enumerate(histories) if len(items) >= SHORTEST_JUDGED]
    return Split(
        train=[items[:-2] if len(items) >= SHORTEST_JUDGED else items for items in histories],
        validation=_cases(judged, [(histories[user][:-2], histories[user][-2:-1]) for user in judged]),
        test=_cases(judged, [(histories[user][:-1], histories[user][-1:]) for user in judged]),
    )


def _by_time(interactions: Interactions, config: DataConfig) -> Split:
    """Two moments cut the log so that each window holds its share of the interactions; equal times stay together."""
    times = np.sort(interactions.time)
    first = _moment(times, config.test_share + config.validation_share)
    second = _moment(times, config.test_share)
    histories, bounds = interactions.histories(), interactions.bounds()
    moments = np.split(interactions.time, bounds[1:-1]) if histories else []
    cuts = [(int(np.searchsorted(time, first)), int(np.searchsorted(time, second))) for time in moments]
    return Split(
        train=[items[:start] for items, (start, _) in zip(histories, cuts, strict=True)],
        validation=_window([(items[:start], items[start:stop]) for items, (start, stop) in zip(histories, cuts, strict=True)]),
        test=_window([(items[:stop], items[stop:]) for items, (_, stop) in zip(histories, cuts, strict=True)]),
    )


def _moment(times: NDArray[np.int64], share_after: float) -> int:
    if len(times) == 0:
        return 0
    return int(times[min(int(len(times) * (1 - share_after)), len(times) - 1)])


def _window(pairs: list[tuple[Items, Items]]) -> Cases:
    judged = [user for user, (history, relevant) in enumerate(pairs) if len(history) and len(relevant)]
    asked = sum(1 for _, relevant in pairs if len(relevant))
    return _cases(judged, [pairs[user] for user in judged], left_out=asked - len(judged))


def _cases(users: list[int], pairs: list[tuple[Items, Items]], left_out: int = 0) -> Cases:
    return Cases(
        user=np.asarray(users, dtype=np.int32),
        history=[history for history, _ in pairs],
        relevant=[relevant for _, relevant in pairs],
        left_out=left_out,
    )
