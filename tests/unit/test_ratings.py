"""Neighbours by hand, and factors that find what was planted."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from lodestar.data.split.rating_triples import RatingTriples
from lodestar.errors import DataError
from lodestar.models.ratings import rating_factors, ratings
from lodestar.models.ratings.rating_factors import RatingFactors, _wishart
from lodestar.models.ratings.ratings import Biases, RatingNeighbours, rmse, similarities
from lodestar.schema.time_units import DAY_US

NONE = np.nan


def cells(rows: list[tuple[int, int, float]]) -> RatingTriples:
    user, item, value = (np.array(column) for column in zip(*rows, strict=True))
    return RatingTriples(user=user, item=item, value=value.astype(float), time_us=np.zeros(len(rows), dtype=np.int64))


def some(cells: RatingTriples, rows: np.ndarray) -> RatingTriples:
    return RatingTriples(user=cells.user[rows], item=cells.item[rows], value=cells.value[rows], time_us=cells.time_us[rows])


def planted(seed: int = 0) -> tuple[RatingTriples, np.ndarray, np.ndarray]:
    """40 users and 30 items with two hidden directions, one of which is written in an attribute; half the cells are rated."""
    rng = np.random.default_rng(seed)
    users, items = rng.normal(size=(40, 2)), rng.normal(size=(30, 2))
    user, item = np.nonzero(rng.random((40, 30)) < 0.5)
    value = 3 + 0.5 * rng.normal(size=40)[user] + (users[user] * items[item]).sum(axis=1) + 0.1 * rng.normal(size=len(user))
    time_us = rng.integers(0, 30 * DAY_US, len(user))
    return RatingTriples(user=user, item=item, value=value, time_us=time_us), users[:, :1], items[:, :1]


def test_similarities_by_hand() -> None:
    table = np.array([[5.0, 3.0, NONE], [1.0, NONE, 2.0], [3.0, 1.0, 4.0]])
    cosine = similarities(table, "cosine")
    assert cosine[0, 1] == pytest.approx((5 * 3 + 3 * 1) / np.sqrt(35 * 10))
    assert np.diag(cosine) == pytest.approx(1)
    assert similarities(table, "jaccard")[1, 2] == pytest.approx(1 / 3)
    # Beyond the means 3 and 2, of those who rated both: (2, 0) and (1, -1).
    assert similarities(table, "pearson")[0, 1] == pytest.approx((2 * 1 + 0 * -1) / np.sqrt((4 + 0) * (1 + 1)))


@pytest.mark.parametrize("kind", ["cosine", "pearson", "jaccard"])
def test_an_item_nobody_rated_is_like_none_and_gets_the_users_mean(kind: str) -> None:
    model = RatingNeighbours(kind).fit(cells([(0, 0, 4.0), (0, 1, 2.0), (1, 0, 5.0)]), 3, 3)  # type: ignore[arg-type]
    assert not model.similarities[2].any()
    assert model.predict(cells([(0, 2, 0.0), (2, 2, 0.0)])) == pytest.approx([3.0, 11 / 3])


def test_a_rating_does_not_predict_itself() -> None:
    known = cells([(0, 0, 5.0), (0, 1, 1.0), (1, 0, 4.0), (1, 1, 4.0)])
    assert RatingNeighbours("jaccard").fit(known, 2, 2).predict(some(known, np.array([0]))) == pytest.approx([1.0])


def drawn(users: int, items: int, count: int) -> RatingTriples:
    rng = np.random.default_rng(3)
    user, item = rng.integers(0, users, count), rng.integers(0, items, count)
    return RatingTriples(user=user, item=item, value=rng.integers(1, 6, count).astype(float), time_us=rng.integers(0, 10**14, count))


@contextmanager
def at_most(num_bytes: int) -> Iterator[None]:
    """Fail where more is allocated at once than this."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] <= num_bytes
    finally:
        tracemalloc.stop()


def test_neighbours_predict_the_same_to_the_bit_in_blocks_of_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    known, asked = drawn(60, 300, 2_000), drawn(60, 300, 3_000)
    model = RatingNeighbours("cosine").fit(known, 60, 300)
    whole = model.predict(asked)
    monkeypatch.setattr(ratings, "CELLS_AT_ONCE", 1 << 14)
    with at_most(2_000_000):  # one array of all ratings and items is 7 MB
        np.testing.assert_array_equal(model.predict(asked), whole)
    monkeypatch.setattr(ratings, "CELLS_AT_ONCE", 1)
    np.testing.assert_array_equal(model.predict(asked), whole)
    assert len(model.predict(some(asked, np.zeros(0, dtype=int)))) == 0


def test_the_memory_of_factors_grows_with_ratings_not_with_users_times_items() -> None:
    known = drawn(20_000, 500, 2_000)
    with at_most(50_000_000):  # the dense table is 80 MB
        RatingFactors(dim=2, burn_in=0, num_samples=1).fit(known, np.zeros((20_000, 0)), np.zeros((500, 0)))


def test_the_bytes_of_a_fit_are_said_before_it_and_are_enough() -> None:
    known, shape = drawn(3_000, 50, 6_000), (3_000, 50)
    needed = rating_factors.bytes_needed(known, shape, 8, 40)
    with at_most(needed):
        RatingFactors(dim=8, burn_in=0, num_samples=40).fit(known, np.zeros((3_000, 0)), np.zeros((50, 0))).posterior_mean(8)
    assert rating_factors.bytes_needed(drawn(1_000_000, 100, 10), (1_000_000, 100), 20, 160) > 20e9


def test_blocks_of_vectors_sample_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    known, users, items = planted()
    predicted = []
    for at_once in (1 << 20, 1, 36):
        monkeypatch.setattr(rating_factors, "CELLS_AT_ONCE", at_once)
        predicted.append(RatingFactors(dim=3, burn_in=2, num_samples=4).fit(known, users, items).predict(known))
    np.testing.assert_allclose(predicted[1], predicted[0])
    np.testing.assert_allclose(predicted[2], predicted[0])


def test_factors_find_what_was_planted_and_biases_cannot() -> None:
    known, users, items = planted()
    is_held = np.random.default_rng(1).random(len(known)) < 0.2
    known_ratings, held = some(known, ~is_held), some(known, is_held)
    factors = RatingFactors(dim=3, burn_in=50, num_samples=100).fit(known_ratings, users, items)
    assert rmse(factors.predict(held), held) < 0.5 < rmse(Biases().fit(known_ratings, 40, 30).predict(held), held)


def test_the_same_seed_gives_the_same_numbers_and_none_leaves_the_range_of_ratings() -> None:
    known, users, items = planted()
    first, second = (RatingFactors(dim=2, burn_in=3, num_samples=5, seed=4).fit(known, users, items).predict(known) for _ in range(2))
    assert np.array_equal(first, second)
    assert known.value.min() <= first.min() <= first.max() <= known.value.max()


def test_users_items_and_days_that_were_never_seen_are_predicted_too() -> None:
    known, users, items = planted()
    known_ratings = some(known, (known.user != 0) & (known.item != 0))
    later = RatingTriples(user=np.array([0, 1]), item=np.array([1, 0]), value=np.zeros(2), time_us=np.full(2, 10**9))
    found = RatingFactors(dim=2, burn_in=5, num_samples=10).fit(known_ratings, users, items).predict(later)
    assert np.isfinite(found).all()


def test_without_attributes_it_learns_from_ratings_alone() -> None:
    known, _, _ = planted()
    none = np.zeros((40, 0)), np.zeros((30, 0))
    assert rmse(RatingFactors(dim=2, burn_in=30, num_samples=30).fit(known, *none).predict(known), known) < 0.5


def test_what_is_no_number_is_named() -> None:
    known, users, items = planted()
    users[3, 0] = np.nan
    with pytest.raises(DataError, match=r"E202.*attribute 0 of row 3"):
        RatingFactors().fit(known, users, items)
    with pytest.raises(DataError, match=r"E202.*rating 1 is not a number"):
        RatingFactors().fit(cells([(0, 0, 1.0), (0, 1, np.nan)]), users[:1], items[:2])
    with pytest.raises(DataError, match="E205"):
        RatingFactors().fit(some(known, np.zeros(0, dtype=int)), users, items)


def test_wishart_draws_have_the_right_mean() -> None:
    scale = np.array([[0.5, 0.2], [0.2, 0.3]])
    rng = np.random.default_rng(0)
    mean = np.mean([_wishart(scale, 7, rng) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(mean, 7 * scale, rtol=0.05)


def test_the_posterior_mean_predicts_what_the_samples_do_where_time_says_nothing() -> None:
    known, users, items = planted()
    model = RatingFactors(dim=3, burn_in=30, num_samples=60).fit(known, users, items)
    everything = cells([(user, item, 3.0) for user in range(40) for item in range(30)])
    usual, (user_bias, item_bias), (user_vectors, item_vectors) = model.posterior_mean(90)
    found = usual + user_bias[everything.user] + item_bias[everything.item] + (user_vectors @ item_vectors.T).ravel()
    years_later = replace(everything, time_us=np.full(len(everything), 10**15))
    assert found.clip(model.lowest, model.highest) == pytest.approx(model.predict(years_later), abs=1e-5)
    _, _, (few, _) = model.posterior_mean(2)
    assert few.shape == (40, 2)


def test_who_rated_what_is_left_out_where_it_would_be_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_factors, "MAX_SET_COLUMNS", 10)
    known, _, _ = planted()
    nothing_known = np.zeros((40, 0)), np.zeros((30, 0))
    model = RatingFactors(dim=3, burn_in=50, num_samples=100).fit(known, *nothing_known)
    assert rmse(model.predict(known), known) < 0.5
