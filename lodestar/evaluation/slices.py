"""For whom the model is good: users by how much is known of them, answers by how popular they are and what they are about.

A case with several relevant items belongs where the first of them does, the one taken next.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestar.data.histories import packed
from lodestar.data.splits import Cases
from lodestar.evaluation.intervals import Interval, compared
from lodestar.models.counts import Sequences

Values = NDArray[np.float64]
Label = NDArray[np.int64]
LENGTHS = (1, 11, 51, 201)  # where each group of histories starts
MOST_CATEGORIES = 8
HEAD_MID_TAIL = ("head (first third of interactions)", "mid (second third)", "tail (last third)")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One group of users: the model's metrics, the best baseline's, and how far the model is ahead."""

    by: str
    label: str
    users: int
    model: dict[str, Interval]
    baseline: dict[str, Interval]
    ahead: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Which of `labels` each case belongs to, [C]."""

    by: str
    labels: list[str]
    group: Label

    def members(self) -> list[tuple[str, Label]]:
        """The cases of each group that has any."""
        found = [(label, np.flatnonzero(self.group == group)) for group, label in enumerate(self.labels)]
        return [(label, cases) for label, cases in found if len(cases)]


def slices(groupings: list[Grouping], model: dict[str, Values], baseline: dict[str, Values], samples: int, seed: int) -> list[Slice]:
    """Every group of every grouping, judged by the same metrics, [C] each."""
    found = []
    for grouping in groupings:
        for label, cases in grouping.members():
            mine = {name: values[cases] for name, values in model.items()}
            theirs = {name: values[cases] for name, values in baseline.items()}
            judged = compared(mine, theirs, samples, seed)
            found.append(Slice(by=grouping.by, label=label, users=len(cases), model=judged[0], baseline=judged[1], ahead=judged[2]))
    return found


def groupings(cases: Cases, known: Sequences, categories: list[str]) -> list[Grouping]:
    """`known` is what came before the test, which says how popular an item was; `categories` has one per item."""
    first_C = np.array([items[0] for items in cases.relevant], dtype=np.int64)
    found = [by_history(cases), by_popularity(first_C, known, len(categories))]
    return [*found, by_category(first_C, categories)] if any(categories) else found


def by_history(cases: Cases) -> Grouping:
    """How many items the history holds."""
    lengths = np.array([len(history) for history in cases.history])
    ends = [f"–{following - 1}" for following in LENGTHS[1:]] + [" or more"]
    labels = [f"{start}{end}" for start, end in zip(LENGTHS, ends, strict=True)]
    return Grouping(by="items in the history", labels=labels, group=np.searchsorted(LENGTHS, lengths, side="right") - 1)


def by_popularity(first_C: Label, known: Sequences, num_items: int) -> Grouping:
    """Items from the most taken to the least, cut where a third and two thirds of all interactions are reached."""
    counts = np.bincount(packed(known).flat(), minlength=num_items)
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) / max(1, counts.sum())
    third = np.empty(num_items, dtype=np.int64)
    third[order] = np.minimum((before * len(HEAD_MID_TAIL)).astype(np.int64), len(HEAD_MID_TAIL) - 1)
    return Grouping(by="popularity of the item taken next", labels=list(HEAD_MID_TAIL), group=third[first_C])


def by_category(first_C: Label, categories: list[str]) -> Grouping:
    """The categories with the most cases, and all others as one."""
    wanted = [categories[item] for item in first_C]
    largest = [category for category, _ in Counter(sorted(wanted)).most_common(MOST_CATEGORIES)]
    labels = [*(category or "no category" for category in largest), "all others"]
    group = {category: place for place, category in enumerate(largest)}
    return Grouping(
        by="category of the item taken next", labels=labels, group=np.array([group.get(category, len(largest)) for category in wanted])
    )
