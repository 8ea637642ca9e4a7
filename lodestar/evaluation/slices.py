"""Slices: metrics by segment, by length of the user's history, popularity of the next item and its category.

A case with several relevant items belongs to the segment of the first, the next interaction.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from lodestar.data.split.ragged_array import from_lists
from lodestar.data.split.splits import EvalCases
from lodestar.evaluation.intervals import Interval, paired_intervals
from lodestar.models.closed_form.counts import Sequences
from lodestar.schema.arrays import Doubles, Float64, Int64, Longs

LENGTHS = (1, 11, 51, 201)  # lower bounds of the segments by history length
MAX_CATEGORIES = 8
HEAD_MID_TAIL = ("head (first third of interactions)", "mid (second third)", "tail (last third)")


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One segment of users: metrics of the model and of the best baseline, and the paired difference (`lead`)."""

    by: str
    label: str
    users: int
    model: dict[str, Interval]
    baseline: dict[str, Interval]
    lead: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """A partition of the test cases into segments; `group` is an index into `labels` for each case, [C]."""

    by: str
    labels: list[str]
    group: Int64[Longs, " cases"]

    def members(self) -> list[tuple[str, Int64[Longs, "_"]]]:
        """The case indices of each segment that is not empty, with its label."""
        found = [(label, np.flatnonzero(self.group == group)) for group, label in enumerate(self.labels)]
        return [(label, cases) for label, cases in found if len(cases)]


def slices(
    groupings: list[Grouping],
    model: dict[str, Float64[Doubles, " cases"]],
    baseline: dict[str, Float64[Doubles, " cases"]],
    samples: int,
    seed: int,
) -> list[Slice]:
    """Slices of every grouping, from per-case values [C] of the same metrics for the model and the best baseline."""
    found = []
    for grouping in groupings:
        for label, cases in grouping.members():
            mine = {name: values[cases] for name, values in model.items()}
            theirs = {name: values[cases] for name, values in baseline.items()}
            found_intervals = paired_intervals(mine, theirs, samples, seed)
            found.append(
                Slice(
                    by=grouping.by,
                    label=label,
                    users=len(cases),
                    model=found_intervals[0],
                    baseline=found_intervals[1],
                    lead=found_intervals[2],
                )
            )
    return found


def groupings(cases: EvalCases, known: Sequences, categories: list[str]) -> list[Grouping]:
    """Groupings by history length, popularity and category; `known` are the interactions before the test, `categories` [N] one per item."""
    first_C = np.array([items[0] for items in cases.relevant], dtype=np.int64)
    found = [by_history(cases), by_popularity(first_C, known, len(categories))]
    return [*found, by_category(first_C, categories)] if any(categories) else found


def by_history(cases: EvalCases) -> Grouping:
    """Grouping by the number of items in the history."""
    lengths = np.array([len(history) for history in cases.history])
    ends = [f"–{following - 1}" for following in LENGTHS[1:]] + [" or more"]
    labels = [f"{start}{end}" for start, end in zip(LENGTHS, ends, strict=True)]
    return Grouping(by="items in the history", labels=labels, group=np.searchsorted(LENGTHS, lengths, side="right") - 1)


def by_popularity(first_C: Int64[Longs, " cases"], known: Sequences, num_items: int) -> Grouping:
    """Grouping by popularity of the next item: head, mid and long tail, each with a third of all interactions."""
    counts = np.bincount(from_lists(known).flat(), minlength=num_items)
    order = np.argsort(-counts, kind="stable")
    before = np.concatenate([[0], np.cumsum(counts[order])[:-1]]) / max(1, counts.sum())
    third = np.empty(num_items, dtype=np.int64)
    third[order] = np.minimum((before * len(HEAD_MID_TAIL)).astype(np.int64), len(HEAD_MID_TAIL) - 1)
    return Grouping(by="popularity of the next item", labels=list(HEAD_MID_TAIL), group=third[first_C])


def by_category(first_C: Int64[Longs, " cases"], categories: list[str]) -> Grouping:
    """Grouping by category of the next item: the MAX_CATEGORIES with the most cases, all others as one."""
    wanted = [categories[item] for item in first_C]
    largest = [category for category, _ in Counter(sorted(wanted)).most_common(MAX_CATEGORIES)]
    labels = [*(category or "no category" for category in largest), "all others"]
    group = {category: index for index, category in enumerate(largest)}
    return Grouping(
        by="category of the next item", labels=labels, group=np.array([group.get(category, len(largest)) for category in wanted])
    )
