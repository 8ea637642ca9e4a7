"""The simulated logging policy says what it does: its propensities are the chances of its draws."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from lodestar.data.simulator.sessions import logging_policy
from lodestar.data.simulator.world import LIST_LENGTH

favours = arrays(np.float64, (4, LIST_LENGTH + 3), elements=st.floats(0.1, 10))


@given(favour=favours, seed=st.integers(0, 1000))
def test_a_list_shows_each_item_once_and_a_propensity_is_the_items_share_of_what_is_left(favour: NDArray[np.float64], seed: int) -> None:
    drawn, propensity = logging_policy(favour, np.random.default_rng(seed))
    for row, places in enumerate(drawn):
        assert len(set(places)) == LIST_LENGTH
        for rank, place in enumerate(places):
            left = favour[row].sum() - favour[row, places[:rank]].sum()
            assert propensity[row, rank] == pytest.approx(favour[row, place] / left, rel=1e-6)


@given(favour=favours, hidden=st.integers(0, 2), seed=st.integers(0, 1000))
def test_what_has_no_favour_is_never_shown(favour: NDArray[np.float64], hidden: int, seed: int) -> None:
    favour[:, : hidden + 1] = 0
    drawn, propensity = logging_policy(favour, np.random.default_rng(seed))
    assert drawn.min() > hidden
    assert (propensity > 0).all()
    assert (propensity <= 1 + 1e-9).all()


def test_every_order_is_as_frequent_as_its_propensities_say() -> None:
    favour = np.array([5.0, 1.0, 2.0, *[1e-9] * (LIST_LENGTH - 3)])
    drawn, propensity = logging_policy(np.tile(favour, (60_000, 1)), np.random.default_rng(0))
    for order in permutations(range(3)):
        rows = (drawn[:, :3] == order).all(axis=1)
        promised = propensity[rows, :3].prod(axis=1)
        assert promised.max() == pytest.approx(promised.min())
        assert rows.mean() == pytest.approx(promised[0], abs=0.006)


@pytest.mark.parametrize("rank", [0, LIST_LENGTH - 1])
def test_inverse_propensities_count_what_could_have_been_shown(rank: int) -> None:
    favour = np.random.default_rng(1).uniform(0.3, 1, size=(40_000, 20))
    _, propensity = logging_policy(favour, np.random.default_rng(2))
    assert (1 / propensity[:, rank]).mean() == pytest.approx(20 - rank, rel=0.01)
