"""What is recommended: the best of what is active and new to the user, by the scores of the model that was trained."""

import numpy as np
import pytest
import torch

from lodestar.bundle import bundle
from lodestar.engine.recommender import HISTORIES_AT_ONCE, PERSONAL, POPULAR, Recommendation, Recommender, top_k
from lodestar.schema.arrays import Integers
from tests.factories import MAX_LENGTH, small_bundle, small_model

TOLERANCE = 1e-4
NUM_ITEMS = 12


@pytest.fixture(scope="module")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    return Recommender(bundle.load(small_bundle(tmp_path_factory.mktemp("bundle"), num_items=NUM_ITEMS, inactive=("i3", "i5"))))


def rows(*items: int) -> Integers:
    return np.array(items, dtype=np.int32)


def ids(answer: list[Recommendation]) -> list[str]:
    return [place.item_id for place in answer]


def trained_scores(history: Integers) -> np.ndarray:
    model = small_model(NUM_ITEMS)
    asked = torch.from_numpy(history[-MAX_LENGTH:].astype(np.int64))[None]
    with torch.no_grad():
        scores: np.ndarray = model.scores(asked, torch.ones_like(asked, dtype=torch.bool))[0].numpy()
    return scores


@pytest.mark.parametrize("length", [1, 2, MAX_LENGTH, MAX_LENGTH + 1, 40])
def test_scores_are_those_of_the_trained_model(recommender: Recommender, length: int) -> None:
    history = np.arange(length, dtype=np.int32) * 5 % NUM_ITEMS
    np.testing.assert_allclose(recommender.scores([history])[0], trained_scores(history), atol=TOLERANCE)


def test_a_history_scores_the_same_alone_and_among_others(recommender: Recommender) -> None:
    generator = np.random.default_rng(0)
    histories = [generator.integers(0, NUM_ITEMS, size=generator.integers(0, 20)).astype(np.int32) for _ in range(2 * HISTORIES_AT_ONCE)]
    alone = np.concatenate([recommender.scores([history]) for history in histories])
    np.testing.assert_allclose(recommender.scores(histories), alone, atol=TOLERANCE)


def test_permuting_histories_permutes_scores(recommender: Recommender) -> None:
    histories = [rows(1), rows(2, 3, 4), rows(), rows(7, 1)]
    order = [2, 0, 3, 1]
    permuted = recommender.scores([histories[place] for place in order])
    np.testing.assert_allclose(permuted, recommender.scores(histories)[order], atol=TOLERANCE)


def test_no_histories_have_no_scores(recommender: Recommender) -> None:
    assert recommender.scores([]).shape == (0, NUM_ITEMS)


def test_without_a_history_the_most_popular_come_first(recommender: Recommender) -> None:
    answer = recommender.recommend([], 5)
    assert ids(answer) == ["i0", "i1", "i2", "i4", "i6"]  # i3 and i5 are not active
    assert {place.retriever for place in answer} == {POPULAR}
    assert [place.score for place in answer] == [12, 11, 10, 8, 6]


def test_a_history_of_unknown_items_is_as_none(recommender: Recommender) -> None:
    assert recommender.recommend(["gone", "never"], 3) == recommender.recommend([], 3)


def test_unknown_items_are_passed_over(recommender: Recommender) -> None:
    assert recommender.recommend(["i1", "gone", "i2"], 3, exclude=["never"]) == recommender.recommend(["i1", "i2"], 3)


def test_places_are_numbered_and_described(recommender: Recommender) -> None:
    first, second = recommender.recommend(["i1"], 2)
    row = int(first.item_id[1:])
    assert (first.position, second.position) == (1, 2)
    assert (first.title, first.category, first.retriever) == (f"Item {row}", "abc"[row % 3], PERSONAL)
    assert first.score >= second.score


@pytest.mark.parametrize("history", [[], ["i1"], ["i1", "i1", "i8"], [f"i{row}" for row in range(11)]])
def test_seen_inactive_and_excluded_items_are_never_recommended(recommender: Recommender, history: list[str]) -> None:
    answer = ids(recommender.recommend(history, 100, exclude=["i0", "i7"]))
    assert set(answer) == {f"i{row}" for row in range(NUM_ITEMS)} - {"i3", "i5", "i0", "i7", *history}
    assert len(answer) == len(set(answer))


def test_when_everything_is_seen_nothing_is_recommended(recommender: Recommender) -> None:
    assert recommender.recommend([f"i{row}" for row in range(NUM_ITEMS)], 3) == []


def test_answering_changes_nothing_in_the_bundle(recommender: Recommender) -> None:
    before = recommender.recommend([], 3)
    recommender.recommend(["i0", "i1"], 3)
    assert recommender.recommend([], 3) == before


@pytest.mark.parametrize(
    ("scores", "k", "expected"),
    [
        ([1, 3, 2], 2, [1, 2]),
        ([1, 1, 1], 2, [0, 1]),
        ([0, 2, 1, 2, 1], 3, [1, 3, 2]),
        ([1, -np.inf, 2], 3, [2, 0]),
        ([-np.inf, -np.inf], 2, []),
        ([5], 0, []),
        ([], 3, []),
    ],
)
def test_the_best_come_first_and_ties_in_row_order(scores: list[float], k: int, expected: list[int]) -> None:
    assert top_k(np.array(scores, dtype=np.float32), k).tolist() == expected


@pytest.mark.parametrize("count", [63, 64, 640, 641, 5000])
def test_the_best_of_many_are_those_of_a_full_sort(count: int) -> None:
    rng = np.random.default_rng(count)
    for values in (rng.normal(size=count), rng.integers(0, 5, size=count), np.where(rng.random(count) < 0.01, 1.0, -np.inf)):
        scores = values.astype(np.float32)
        for k in (1, 10, count):
            assert top_k(scores, k).tolist() == [row for row in np.argsort(-scores, kind="stable")[:k] if scores[row] > -np.inf]
