"""Metrics of small rankings, worked out by hand."""

import math

import numpy as np
import pytest

from lodestar.data.split.splits import EvalCases
from lodestar.evaluation.metrics import NO_ITEM, Ranking, coverage, gini, item_frequencies, novelty, per_case, rank
from lodestar.progress import Progress


def cases(*rows: tuple[list[int], list[int]]) -> EvalCases:
    return EvalCases(
        user=np.arange(len(rows), dtype=np.int32),
        history=[np.array(history, dtype=np.int32) for history, _ in rows],
        relevant=[np.array(relevant, dtype=np.int32) for _, relevant in rows],
    )


def ranked(scores: list[list[float]], of: EvalCases, length: int = 3) -> Ranking:
    table = np.array(scores, dtype=np.float32)
    rows = iter(table)
    with Progress("test", len(of)) as progress:
        return rank(lambda histories: np.stack([next(rows) for _ in histories]), of, table.shape[1], length, progress)


def test_a_seen_item_takes_no_place() -> None:
    found = ranked([[9, 8, 7, 6]], cases(([0, 1], [3])))
    assert found.rank.tolist() == [1]
    assert found.top.tolist() == [[2, 3, NO_ITEM]]


def test_ties_count_against_the_model() -> None:
    assert ranked([[5, 5, 5, 1]], cases(([3], [0]))).rank.tolist() == [2]


def test_relevant_items_of_one_tie_take_its_last_places() -> None:
    assert ranked([[5, 5, 5, 7]], cases(([], [0, 2]))).rank.tolist() == [2, 3]


def test_a_model_that_scores_no_numbers_comes_last() -> None:
    assert ranked([[math.nan] * 4], cases(([1], [2]))).rank.tolist() == [3]


def test_one_relevant_item_gains_by_its_rank() -> None:
    found = per_case(ranked([[1, 4, 3, 2]], cases(([], [2]))), (1, 2))
    assert {name: values.tolist() for name, values in found.items() if name.endswith("1")} == {
        "hr_at_1": [0],
        "recall_at_1": [0],
        "ndcg_at_1": [0],
        "mrr_at_1": [0],
        "map_at_1": [0],
    }
    assert {name: values[0] for name, values in found.items() if name.endswith("2")} == pytest.approx(
        {"hr_at_2": 1, "recall_at_2": 1, "ndcg_at_2": 1 / math.log2(3), "mrr_at_2": 0.5, "map_at_2": 0.5}
    )


def test_several_relevant_items_gain_by_their_ranks() -> None:
    # Places 1, 3 and 4 of six items; a list of three can hold three of the three.
    found = per_case(ranked([[6, 5, 4, 3, 2, 1]], cases(([], [0, 2, 3]))), (3,))
    gain = [1 / math.log2(place + 1) for place in (1, 2, 3)]
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {
            "hr_at_3": 1,
            "recall_at_3": 2 / 3,
            "ndcg_at_3": (gain[0] + gain[2]) / sum(gain),
            "mrr_at_3": 1,
            "map_at_3": (1 + 2 / 3) / 3,
        }
    )


def test_more_answers_than_places_are_divided_by_the_places() -> None:
    found = per_case(ranked([[6, 5, 4, 3, 2, 1]], cases(([], [0, 1, 2]))), (2,))
    assert (found["ndcg_at_2"][0], found["map_at_2"][0], found["recall_at_2"][0]) == pytest.approx((1, 1, 2 / 3))


def test_no_case_gives_no_values() -> None:
    assert per_case(ranked([[1, 2]], cases()), (1,))["ndcg_at_1"].tolist() == []


def test_novelty_counts_bits_of_what_is_shown() -> None:
    top = np.array([[0, 1], [2, NO_ITEM]])
    assert novelty(top, np.array([0.5, 0.25, 1])).tolist() == [1.5, 0]


@pytest.mark.parametrize(
    ("shown", "share", "inequality"), [([1, 1, 1, 1], 1, 0), ([4, 0, 0, 0], 0.25, 0.75), ([1, 3], 1, 0.25), ([0, 0], 0, 0)]
)
def test_coverage_and_gini_of_what_is_shown(shown: list[int], share: float, inequality: float) -> None:
    assert (coverage(np.array(shown)), gini(np.array(shown))) == pytest.approx((share, inequality))


def test_each_place_of_each_list_is_counted() -> None:
    assert item_frequencies(np.array([[0, 2], [2, NO_ITEM]]), 4).tolist() == [1, 0, 2, 0]
