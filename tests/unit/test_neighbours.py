"""Counted neighbours point where counting points, and are only as loud as validation wants them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lodestar.bundle import neighbours
from lodestar.bundle.neighbours import DECAY, RECENT, NeighbourTable, quantise
from lodestar.data.split.splits import EvalCases
from lodestar.engine.recommender import Recommender
from lodestar.models.closed_form.cooccurrence import CoOccurrence
from lodestar.models.closed_form.counts import Sequences
from lodestar.schema.arrays import Floats
from lodestar.training.ensemble.neighbour_blend import choose_weight
from lodestar.training.init.item_init import item_vectors, spectral_basis
from tests.cycles import NUM_ITEMS, cycles, next_items
from tests.factories import small_bundle, small_model


def counted(most: int = NUM_ITEMS, weight: float = 1.0) -> NeighbourTable:
    return CoOccurrence().fit(cycles(), NUM_ITEMS).neighbours(most, weight)


def added(found: NeighbourTable, histories: Sequences) -> Floats:
    scores = np.zeros((len(histories), NUM_ITEMS), dtype=np.float32)
    found.add_to(scores, histories)
    return scores


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_all_neighbours_together_score_as_co_occurrence_does_in_a_length_that_is_the_weight(weight: float) -> None:
    histories = [items[:length] for items, length in zip(cycles(), np.arange(60) % 9 + 1, strict=True)]
    ours, theirs = added(counted(weight=weight), histories), CoOccurrence().fit(cycles(), NUM_ITEMS).score(histories)
    lengths = np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(ours, weight * theirs / lengths, atol=5e-3 * weight)


def test_the_strongest_are_kept() -> None:
    affinity = CoOccurrence().fit(cycles(), NUM_ITEMS).affinity.toarray()
    few = counted(3)
    assert few.item.shape == few.similarity.shape == (NUM_ITEMS, 3)
    for row in range(NUM_ITEMS):
        kept = few.similarity[row] * few.scale[row]
        np.testing.assert_allclose(kept, np.sort(affinity[row])[::-1][:3], atol=0.51 * few.scale[row])
        np.testing.assert_allclose(affinity[row, few.item[row]], kept, atol=0.51 * few.scale[row])


def test_an_item_without_neighbours_and_an_empty_history_add_nothing() -> None:
    lonely = CoOccurrence().fit([np.array([0, 1], dtype=np.int32), np.array([3], dtype=np.int32)], 4).neighbours(2, 1.0)
    scores = np.zeros((3, 4), dtype=np.float32)
    lonely.add_to(scores, [np.array([3]), np.zeros(0, dtype=np.int32), np.array([3, 0])])
    assert not scores[:2].any()
    assert scores[2].argmax() == 1


def test_a_catalogue_without_cooccurrences_has_none() -> None:
    none = CoOccurrence().fit([np.array([0], dtype=np.int32)], 2).neighbours(5, 1.0)
    assert none.item.shape == (2, 0)
    assert not added_to(none, [np.array([1])], 2).any()


def added_to(found: NeighbourTable, histories: list[np.ndarray], num_items: int) -> Floats:
    scores = np.zeros((len(histories), num_items), dtype=np.float32)
    found.add_to(scores, histories)
    return scores


def test_only_the_last_items_count_and_a_step_further_back_less() -> None:
    ones = quantise(np.arange(9, dtype=np.uint8)[:, None], np.ones((9, 1)), 1.0)
    (scores,) = added_to(ones, [np.arange(8)], 9)
    expected = np.zeros(9)
    expected[7 : 7 - RECENT : -1] = DECAY ** np.arange(RECENT)
    np.testing.assert_allclose(scores, expected / np.linalg.norm(expected), rtol=1e-3)


def test_what_is_written_is_read() -> None:
    found = counted(3, 2.5)
    again = neighbours.from_arrays(found.arrays())
    assert (again.weight, str(again.item.dtype)) == (2.5, "uint8")
    np.testing.assert_array_equal(again.item, found.item)
    np.testing.assert_array_equal(again.similarity, found.similarity)
    np.testing.assert_array_equal(again.scale, found.scale)


def test_a_bundle_with_neighbours_answers_with_them(tmp_path: Path) -> None:
    plain, beside = (small_bundle(tmp_path / name, neighbours=found) for name, found in (("plain", None), ("beside", counted(4, 3.0))))
    histories = [np.array([1, 2]), np.array([5]), np.array([], dtype=np.int32)]
    scores = [Recommender(loaded(folder)).scores(histories) for folder in (plain, beside)]
    expected = scores[0].copy()
    counted(4, 3.0).add_to(expected[:2], histories[:2])
    np.testing.assert_allclose(scores[1], expected, atol=1e-5)
    first, *_ = Recommender(loaded(beside)).recommend(["i1", "i2"], 3)
    expected[0, [1, 2]] = -np.inf
    assert first.item_id == f"i{expected[0].argmax()}"


def loaded(folder: Path):  # type: ignore[no-untyped-def]
    from lodestar.bundle import bundle

    return bundle.load(folder)


def test_the_weight_is_chosen_where_they_help_and_zero_where_they_mislead() -> None:
    sequences, model = cycles(), small_model(NUM_ITEMS)
    helped, quality = choose_weight(model, counted(), next_items(sequences), 10)
    assert helped > 0
    assert quality.ndcg > 0.5
    ahead = np.array([(items[-1] + 6) % NUM_ITEMS for items in sequences], dtype=np.int32)
    elsewhere: EvalCases = replace(next_items(sequences), relevant=list(ahead[:, None]))
    unhelped, _ = choose_weight(model, counted(), elsewhere, 10)
    assert unhelped < helped


def test_item_vectors_have_the_spread_that_the_model_expects() -> None:
    vectors = item_vectors(spectral_basis(cycles(), NUM_ITEMS, 8, seed=0), 8, seed=0)
    assert float(vectors.std()) == pytest.approx(8**-0.5, rel=0.2)


def test_a_catalogue_of_one_item_has_no_directions() -> None:
    assert spectral_basis([np.zeros(1, dtype=np.int32)], 1, 8, seed=0).columns.shape == (1, 0)
