"""Who falls into which slice, and what a slice says."""

import numpy as np
import pytest

from lodestar.data.split.splits import EvalCases
from lodestar.evaluation.slices import by_category, by_history, by_popularity, groupings, slices


def cases(*rows: tuple[int, list[int]]) -> EvalCases:
    """Cases of (items in the history, relevant items)."""
    return EvalCases(
        user=np.arange(len(rows), dtype=np.int32),
        history=[np.zeros(length, dtype=np.int32) for length, _ in rows],
        relevant=[np.array(relevant, dtype=np.int32) for _, relevant in rows],
    )


def test_users_are_grouped_by_how_much_is_known_of_them() -> None:
    found = by_history(cases((1, [0]), (10, [0]), (11, [0]), (50, [0]), (51, [0]), (201, [0])))
    assert [(label, rows.tolist()) for label, rows in found.members()] == [
        ("1–10", [0, 1]),
        ("11–50", [2, 3]),
        ("51–200", [4]),
        ("201 or more", [5]),
    ]


def test_items_are_grouped_by_thirds_of_all_interactions() -> None:
    known = [np.repeat(np.arange(4, dtype=np.int32), [5, 4, 3, 3])]
    found = by_popularity(np.arange(5), known, 5)
    assert found.group.tolist() == [0, 1, 1, 2, 2]


def test_the_ninth_category_joins_all_others_and_an_unnamed_one_is_said_so() -> None:
    categories = ["", *"abcdefgh"]
    wanted = np.array([0, 0, *(item for item in range(1, 8) for _ in range(2)), 8])
    found = {label: len(rows) for label, rows in by_category(wanted, categories).members()}
    assert found == {"no category": 2, **dict.fromkeys("abcdefg", 2), "all others": 1}


def test_a_catalogue_without_categories_has_no_such_slice() -> None:
    evaluated = cases((1, [0]))
    known = [np.zeros(1, dtype=np.int32)]
    assert len(groupings(evaluated, known, [""])) == 2
    assert len(groupings(evaluated, known, ["a"])) == 3


def test_a_case_belongs_where_the_next_item_does() -> None:
    found = groupings(cases((1, [1, 0])), [np.zeros(1, dtype=np.int32)], ["a", "b"])
    assert [label for label, _ in found[-1].members()] == ["b"]


def test_a_slice_holds_its_users_only() -> None:
    grouping = by_history(cases((1, [0]), (1, [0]), (20, [0])))
    model, baseline = {"ndcg_at_10": np.array([1.0, 0.5, 0.2])}, {"ndcg_at_10": np.array([0.5, 0.5, 0.4])}
    short, long = slices([grouping], model, baseline, samples=20, seed=0)
    assert (short.users, long.users) == (2, 1)
    assert (short.model["ndcg_at_10"].value, short.lead["ndcg_at_10"].value) == pytest.approx((0.75, 0.25))
    assert long.lead["ndcg_at_10"].high == pytest.approx(-0.2)
