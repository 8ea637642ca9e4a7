"""Similarities of items are their formulas over columns of 0 and 1, and the strongest of each are what is served."""

import numpy as np
import pytest

from lodestar.models.closed_form.item_knn import ItemKNN, Similarity
from tests.unit.test_closed_form import NUM_ITEMS, sequences, user_item_matrix


def dense(similarity: Similarity, user_item: np.ndarray) -> np.ndarray:
    both, own = user_item.T @ user_item, np.maximum(user_item.sum(axis=0), 1)
    if similarity == "cosine":
        alike = both / np.sqrt(np.outer(own, own))
    elif similarity == "jaccard":
        alike = both / (own[:, None] + own[None] - both)
    else:
        alike = np.corrcoef(user_item.T)
    np.fill_diagonal(alike, 0)
    # Items that no user has both of are no neighbours, and what is below 0 counts as none.
    return np.where(both > 0, np.maximum(alike, 0), 0)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard", "pearson"])
def test_similarities_are_their_formulas(similarity: Similarity) -> None:
    rows = sequences(4, 25)
    user_item = user_item_matrix(rows)
    model = ItemKNN(similarity=similarity).fit(rows, NUM_ITEMS)
    np.testing.assert_allclose(model.similarities.toarray(), dense(similarity, user_item), atol=1e-6)
    np.testing.assert_allclose(model.score(rows), user_item @ dense(similarity, user_item), atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard", "pearson"])
def test_what_is_served_is_the_sum_over_the_whole_history(similarity: Similarity) -> None:
    rows, asked = sequences(5, 25), [np.arange(8, dtype=np.int32)]
    model = ItemKNN(similarity=similarity).fit(rows, NUM_ITEMS)
    found, expected = np.zeros((1, NUM_ITEMS), dtype=np.float32), model.score(asked)
    model.neighbours(NUM_ITEMS).add_to(found, asked)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=5e-3)


@pytest.mark.parametrize("similarity", ["cosine", "jaccard", "pearson"])
def test_an_item_of_everyone_and_one_of_nobody_are_like_no_other_by_correlation(similarity: Similarity) -> None:
    rows = [np.array([0, 1 + user % 2], dtype=np.int32) for user in range(6)]
    alike = ItemKNN(similarity=similarity).fit(rows, 5).similarities.toarray()
    assert np.isfinite(alike).all()
    assert not alike[3:].any()
    assert alike[0].any() == (similarity != "pearson")
