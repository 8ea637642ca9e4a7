"""iALS is at the minimum of its loss in each of its vectors; a graph filter is what its formula says, written out densely."""

import numpy as np
import pytest

from lodestar.models.closed_form.counts import Sequences
from lodestar.models.closed_form.gf_cf import GFCF
from lodestar.models.closed_form.ials import IALS

NUM_ITEMS = 12


def sequences(seed: int = 0, count: int = 30) -> Sequences:
    rng = np.random.default_rng(seed)
    return [rng.choice(NUM_ITEMS, rng.integers(2, 7), replace=False).astype(np.int32) for _ in range(count)]


def user_item_matrix(rows: Sequences) -> np.ndarray:
    user_item = np.zeros((len(rows), NUM_ITEMS))
    for row, items in zip(user_item, rows, strict=True):
        row[items] = 1
    return user_item


def test_a_folded_in_history_is_where_its_loss_is_least() -> None:
    rows = sequences()
    model = IALS(dim=5, unobserved_weight=0.2, regularisation=0.05, epochs=6).fit(rows, NUM_ITEMS)
    items = model.items.astype(np.float64)
    users = np.linalg.lstsq(items, model.score(rows).T.astype(np.float64), rcond=None)[0].T

    def loss(user: np.ndarray, user_item: np.ndarray) -> float:
        scores = items @ user
        weight = 0.05 * (user_item.sum() + 0.2 * NUM_ITEMS)
        return float((user_item * (scores - 1) ** 2).sum() + 0.2 * (scores**2).sum() + weight * (user**2).sum())

    rng = np.random.default_rng(1)
    for user, user_item in zip(users, user_item_matrix(rows), strict=True):
        least = loss(user, user_item)
        assert all(loss(user + 0.01 * rng.standard_normal(5), user_item) > least for _ in range(20))


def test_items_of_the_same_users_are_near() -> None:
    rows = [np.array([0, 1, 2], dtype=np.int32)] * 20 + [np.array([5, 6, 7], dtype=np.int32)] * 20
    for model in (IALS(dim=4), GFCF(frequencies=2)):
        (scores,) = model.fit(rows, NUM_ITEMS).score([np.array([0, 1], dtype=np.int32)])
        assert scores[2] > 10 * abs(scores[[5, 6, 7, 9]]).max()


@pytest.mark.parametrize("frequencies", [1, 4, 8])
def test_a_graph_filter_is_its_formula(frequencies: int) -> None:
    rows = sequences(2)
    user_item = user_item_matrix(rows)
    of_user, of_item = (np.maximum(user_item.sum(axis=axis), 1) for axis in (1, 0))
    smoothed = user_item / np.sqrt(of_user)[:, None] / np.sqrt(of_item)[None]
    lowest = np.linalg.svd(smoothed)[2][:frequencies]
    low = np.diag(of_item**-0.5) @ lowest.T @ lowest @ np.diag(of_item**0.5)
    expected = user_item @ (smoothed.T @ smoothed + 0.7 * low)
    found = GFCF(frequencies=frequencies, ideal_weight=0.7).fit(rows, NUM_ITEMS).score(rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("model", [IALS(dim=3), GFCF(frequencies=3)], ids=["ials", "gf_cf"])
@pytest.mark.parametrize("rows", [[[0, 1, 2], [2, 1]], [[1]], [[], [0]]])
def test_empty_and_single_item_histories_have_finite_scores(model: IALS | GFCF, rows: list[list[int]]) -> None:
    found = model.fit([np.array(row, dtype=np.int32) for row in rows], 3).score(
        [np.zeros(0, dtype=np.int32), np.array([2], dtype=np.int32)]
    )
    assert found.shape == (2, 3)
    assert np.isfinite(found).all()
    assert not found[0].any()


def test_the_same_seed_gives_the_same_bytes() -> None:
    rows = sequences(3)
    for make in (lambda: IALS(dim=4), lambda: GFCF(frequencies=4)):
        first, second = (make().fit(rows, NUM_ITEMS).score(rows).tobytes() for _ in range(2))
        assert first == second
