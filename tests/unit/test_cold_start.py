"""Cold-start users get what is popular now, where the log says that this is better."""

import numpy as np
import pytest

from lodestar.config import DataConfig
from lodestar.data.split.interactions import Interactions
from lodestar.schema.arrays import Floats
from lodestar.schema.time_units import DAY_US
from lodestar.training.publish import cold_start

FORMER, CURRENT, NUM_ITEMS = 300, 100, 6


def shown(current: tuple[int, ...], seed: int = 0) -> Floats:
    """Popularity after a year in which items 0 to 2 have three times as many users as the `current` ones in its last month."""
    rng, rows = np.random.default_rng(seed), []
    for user in range(FORMER + CURRENT):
        liked, since = ((0, 1, 2), 0) if user < FORMER else (current, 335)
        days = np.sort(rng.uniform(since, since + 30, len(liked)))
        rows += [(user, item, int(day * DAY_US)) for item, day in zip(rng.permutation(liked), days, strict=True)]
    columns = np.array(rows, dtype=np.int64).T
    interactions = Interactions(
        users=[f"u{user}" for user in range(FORMER + CURRENT)],
        items=[f"i{item}" for item in range(NUM_ITEMS)],
        user=columns[0].astype(np.int32),
        item=columns[1].astype(np.int32),
        time=columns[2],
    )
    return cold_start.fit_cold_start_popularity(interactions, DataConfig())


def test_what_is_popular_now_comes_first_where_taste_has_moved_on() -> None:
    assert set(np.argsort(-shown((3, 4, 5)))[:3]) == {3, 4, 5}


def test_all_of_the_log_counts_where_taste_stays() -> None:
    assert shown((0, 1, 2)).tolist() == [FORMER + CURRENT] * 3 + [0] * 3


def test_too_few_new_users_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "MIN_USERS", CURRENT + 1)
    assert set(np.argsort(-shown((3, 4, 5)))[:3]) == {0, 1, 2}
