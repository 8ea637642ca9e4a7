"""Bootstrap intervals: repeatable, paired, and as wide as they should be."""

import numpy as np
import pytest

from lodestar.evaluation import intervals as module
from lodestar.evaluation.intervals import bootstrap_means, difference, intervals, paired_intervals

USERS = np.random.default_rng(5).random(400)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    first, again, other = (intervals({"a": USERS}, 200, seed)["a"] for seed in (0, 0, 1))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


def test_the_interval_is_that_of_the_normal_approximation_where_users_are_many() -> None:
    found = intervals({"a": USERS}, 2000, 0)["a"]
    margin = 1.96 * USERS.std() / np.sqrt(len(USERS))
    assert found.value == pytest.approx(USERS.mean())
    assert (found.low, found.high) == pytest.approx((USERS.mean() - margin, USERS.mean() + margin), abs=0.003)


def test_equal_users_leave_no_doubt() -> None:
    found = intervals({"a": np.full(7, 0.25)}, 50, 0)["a"]
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_one_user_is_its_own_interval() -> None:
    found = intervals({"a": np.array([0.5])}, 10, 0)["a"]
    assert (found.low, found.high) == (0.5, 0.5)


def test_a_paired_difference_is_surer_than_two_intervals_side_by_side() -> None:
    mine, theirs, ahead = paired_intervals({"a": USERS + 0.01}, {"a": USERS}, 300, 0)
    assert theirs["a"].high > mine["a"].low
    assert (ahead["a"].low, ahead["a"].high) == pytest.approx((0.01, 0.01))
    assert difference(USERS + 0.01, USERS, 300, 0).high == pytest.approx(ahead["a"].high)


def test_a_draw_has_as_many_users_as_there_are() -> None:
    assert bootstrap_means(np.ones((30, 1)), 20, 0) == pytest.approx(np.ones((20, 1)))


def test_drawing_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_means(USERS[:, None], 25, 0)
    monkeypatch.setattr(module, "WEIGHTS_AT_ONCE", len(USERS) * 4)
    assert bootstrap_means(USERS[:, None], 25, 0) == pytest.approx(whole)
