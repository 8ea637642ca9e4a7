"""DAN-EASE is its formula, is EASE where nothing is normalised, and is served by its neighbours."""

import numpy as np
import pytest

from lodestar.errors import ConfigError
from lodestar.models.closed_form import dan_ease
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.closed_form.dan_ease import NormalisedEASE
from lodestar.models.closed_form.ease import EASE
from lodestar.schema.arrays import Floats
from tests.unit.test_closed_form import NUM_ITEMS, sequences, user_item_matrix


def test_it_is_its_formula() -> None:
    rows = sequences(count=40)
    user_item = user_item_matrix(rows)
    of_user, of_item = (np.maximum(user_item.sum(axis=axis), 1) for axis in (1, 0))
    normalised = user_item * of_user[:, None] ** -0.4 * of_item**-0.3
    gram = normalised.T @ normalised
    own = np.diag(gram)
    precision = np.linalg.inv(gram + np.diag(0.2 * own + 2 * own.mean()))
    weights = -precision / np.diag(precision)
    np.fill_diagonal(weights, 0)
    expected = user_item @ (weights * of_item[:, None] ** -0.3 * of_item**0.1)
    model = NormalisedEASE(item_power=0.3, user_power=0.4, ridge=2.0, diagonal_ridge=0.2, popularity_power=0.1).fit(rows, NUM_ITEMS)
    np.testing.assert_allclose(model.score(rows), expected, atol=1e-4)


def test_without_powers_it_is_ease() -> None:
    rows = sequences(1, 40)
    ridge = 7.0 / user_item_matrix(rows).sum(axis=0).mean()
    plain = NormalisedEASE(item_power=0, user_power=0, ridge=ridge, diagonal_ridge=0, popularity_power=0).fit(rows, NUM_ITEMS)
    np.testing.assert_allclose(plain.score(rows), EASE(regularisation=7.0).fit(rows, NUM_ITEMS).score(rows), atol=1e-4)


def served(model: NormalisedEASE, most: int, histories: Sequences) -> Floats:
    scores = np.zeros((len(histories), NUM_ITEMS), dtype=np.float32)
    model.neighbours(most).add_to(scores, histories)
    return scores


def test_neighbours_score_as_what_the_map_favours_whatever_the_place_in_the_history() -> None:
    rows = sequences(2, 60)
    model, asked = NormalisedEASE().fit(rows, NUM_ITEMS), [np.arange(9, dtype=np.int32)]
    expected = user_item_matrix(asked) @ np.maximum(model.weights, 0)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(served(model, NUM_ITEMS, asked), expected, atol=5e-3)
    np.testing.assert_allclose(served(model, NUM_ITEMS, [asked[0][::-1]]), expected, atol=5e-3)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_the_strongest_are_kept(most: int) -> None:
    model = NormalisedEASE().fit(sequences(3, 60), NUM_ITEMS)
    kept = model.neighbours(most)
    for weights, item, affinity, scale in zip(model.weights, kept.item, kept.similarity, kept.scale, strict=True):
        expected = np.sort(np.maximum(weights, 0))[::-1][: min(most, NUM_ITEMS)]
        np.testing.assert_allclose(np.sort(affinity * scale)[::-1], expected, atol=0.51 * scale)
        np.testing.assert_allclose(np.maximum(weights[item], 0), affinity * scale, atol=0.51 * scale)


def test_a_catalogue_that_is_too_large_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dan_ease, "MAX_CATALOGUE_SIZE", NUM_ITEMS - 1)
    with pytest.raises(ConfigError, match="dense item-item matrix"):
        NormalisedEASE().fit(sequences(), NUM_ITEMS)
