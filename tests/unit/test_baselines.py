"""The counting models against tables worked out by hand."""

import numpy as np
import pytest

from lodestar.models.closed_form.baselines import BASELINES
from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Sequences, cooccurrence_counts
from lodestar.models.closed_form.ease import EASE
from lodestar.models.closed_form.item_knn import ItemKNN
from lodestar.models.closed_form.popularity import Popularity
from lodestar.schema.time_units import DAY_US


def sequences(*rows: list[int]) -> Sequences:
    return [np.array(row, dtype=np.int32) for row in rows]


def test_popularity_counts_users_whatever_the_history() -> None:
    model = Popularity().fit(sequences([0, 1], [1, 2], [1]), 4)
    assert model.score(sequences([0], [])).tolist() == [[1, 3, 1, 0], [1, 3, 1, 0]]


def test_popularity_of_late_counts_a_window_or_halves_with_age() -> None:
    """The interaction with item 0 is ten days old, that with 1 three days and that with 2 new, which is in none of the sequences."""
    rows, day_us = sequences([0, 1], [2]), DAY_US
    timestamps = [np.array([0, 7, 30]) * day_us, np.array([10]) * day_us]
    assert Popularity(window_days=3).fit(rows, 4, (), timestamps).counts.tolist() == pytest.approx([1e-6, 1, 1, 0])
    assert Popularity(half_life_days=5).fit(rows, 4, (), timestamps).counts.tolist() == pytest.approx([0.25, 0.5**0.6, 1, 0])
    both = Popularity(half_life_days=5, window_days=5).fit(rows, 4, (), timestamps)
    assert both.counts.tolist() == pytest.approx([1e-6, 0.5**0.6, 1, 0])


def test_cosine_relates_items_by_their_shared_users() -> None:
    model = ItemKNN().fit(sequences([0, 1], [0, 1], [0, 2]), 3)
    assert model.score(sequences([0]))[0] == pytest.approx([0, 2 / np.sqrt(6), 1 / np.sqrt(3)])


def test_cooccurrences_are_counted_within_the_window_and_one_sequence_only() -> None:
    assert cooccurrence_counts(sequences([0, 1, 2], [2, 0]), 3, window=1).toarray().tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_cooccurrence_counts_a_reversed_pair_in_part() -> None:
    model = CoOccurrence(seen_damping=0, candidate_damping=0).fit(sequences([0, 1]), 2)
    assert model.affinity.toarray().tolist() == [[0, 1], [0.5, 0]]


def test_cooccurrence_divides_by_the_powers_of_both_degrees() -> None:
    model = CoOccurrence(backward=0).fit(sequences([0, 1], [0, 1], [0, 1], [0, 1]), 2)
    assert model.affinity[0, 1] == pytest.approx(4 / (4**0.5 * 4**0.3))


def test_cooccurrence_trusts_the_newest_items_most_and_forgets_the_oldest() -> None:
    model = CoOccurrence(seen_damping=0, candidate_damping=0, backward=0, recent=2).fit(sequences([0, 3], [1, 3], [2, 3]), 4)
    assert model.score(sequences([0, 1], [1], [2, 0, 1]))[:, 3] == pytest.approx([1.7, 1, 1.7])


def test_ease_is_the_ridge_regression_of_each_item_on_the_others() -> None:
    rows = sequences([0, 1], [0, 1, 2], [1, 2], [0, 2], [3])
    user_item = np.zeros((len(rows), 4))
    for user, items in enumerate(rows):
        user_item[user, items] = 1
    weights = EASE(regularisation=0.5).fit(rows, 4).weights
    for item in range(4):
        others = np.delete(user_item, item, axis=1)
        expected = np.linalg.solve(others.T @ others + 0.5 * np.eye(3), others.T @ user_item[:, item])
        assert np.delete(weights[:, item], item) == pytest.approx(expected, abs=1e-5)
        assert weights[item, item] == 0


@pytest.mark.parametrize("name", sorted(BASELINES))
@pytest.mark.parametrize("rows", [[], [[]], [[0]], [[0, 1], [], [1]]])
def test_every_baseline_takes_empty_and_single_item_histories(name: str, rows: list[list[int]]) -> None:
    scores = BASELINES[name]().fit(sequences(*rows), 3).score(sequences([], [2]))
    assert scores.shape == (2, 3)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
