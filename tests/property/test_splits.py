"""What holds for every split of every log."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lodestar.config import DataConfig
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import last_trained, split, training_end, validation_times
from lodestar.schema.time_units import SECOND_US
from tests import factories

CATALOGUE = [f"i{number}" for number in range(8)]
ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(CATALOGUE), st.integers(0, 20)), min_size=1, max_size=60)
CONFIGS = st.builds(
    DataConfig, split=st.sampled_from(["leave_one_out", "time"]), test_share=st.floats(0.05, 0.4), validation_share=st.floats(0.05, 0.4)
)


def _interactions(rows: list[tuple[str, str, int]]) -> Interactions:
    """Each pair once, at its first time, by user as they first appear, then time, then the order of the log."""
    users = list(dict.fromkeys(user for user, _, _ in rows))
    first: dict[tuple[int, int], tuple[int, int]] = {}
    for place, (user, item, second) in enumerate(rows):
        pair, timestamp = (users.index(user), CATALOGUE.index(item)), (second, place)
        first[pair] = min(first.get(pair, timestamp), timestamp)
    kept = sorted((user, *timestamp, item) for (user, item), timestamp in first.items())
    by_user, second, _, by_item = np.array(kept, dtype=np.int64).T
    time = factories.EPOCH_US + second * SECOND_US
    return Interactions(users=users, items=CATALOGUE, user=by_user.astype(np.int32), item=by_item.astype(np.int32), time=time)


@settings(max_examples=40)
@given(rows=ROWS)
def test_a_pair_is_kept_once_at_its_first_time_in_order_of_time(rows: list[tuple[str, str, int]]) -> None:
    found, expected = factories.interactions(factories.events(*rows), factories.items(*CATALOGUE)), _interactions(rows)
    assert found.users == expected.users
    for name in ("user", "item", "time"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()


@given(rows=ROWS, config=CONFIGS)
def test_a_split_shares_no_event_and_invents_none(rows: list[tuple[str, str, int]], config: DataConfig) -> None:
    interactions = _interactions(rows)
    found = split(interactions, config)
    parts = [(user, item) for user, items in enumerate(found.train) for item in items.tolist()]
    for cases in (found.validation, found.test):
        parts += [(int(user), item) for user, items in zip(cases.user, cases.relevant, strict=True) for item in items.tolist()]
    assert len(parts) == len(set(parts))
    assert set(parts) <= set(zip(interactions.user.tolist(), interactions.item.tolist(), strict=True))


@given(rows=ROWS, config=CONFIGS)
def test_a_history_is_what_came_before_its_answer(rows: list[tuple[str, str, int]], config: DataConfig) -> None:
    interactions = _interactions(rows)
    whole = [items.tolist() for items in interactions.histories()]
    found = split(interactions, config)
    for cases in (found.validation, found.test):
        for user, history, relevant in zip(cases.user, cases.history, cases.relevant, strict=True):
            start, stop = len(history), len(history) + len(relevant)
            assert min(start, stop - start) >= 1
            assert (history.tolist(), relevant.tolist()) == (whole[user][:start], whole[user][start:stop])


@given(rows=ROWS, config=CONFIGS, at_once=st.integers(1, 7))
def test_training_ends_before_validation_and_test_begin(rows: list[tuple[str, str, int]], config: DataConfig, at_once: int) -> None:
    """And the time is the same however few of the times are looked at together."""
    found = _interactions(rows)
    last = last_trained(found.user, found.time)
    end = training_end(lambda: (found.time[place : place + at_once] for place in range(0, len(found.time), at_once)), last, config)
    assert end == training_end(lambda: [found.time[::-1]], last, config)
    cut = split(found, config)
    bounds = found.bounds()
    trained = [int(found.time[bounds[user] + len(items) - 1]) for user, items in enumerate(cut.train) if len(items)]
    assert max(trained, default=-1) < end
    if config.split == "leave_one_out":
        assert end == max(trained) + 1
    else:
        first_rows = [bounds[user] + len(past) for user, past in zip(cut.validation.user, cut.validation.history, strict=True)]
        assert all(int(found.time[row]) >= end for row in first_rows)


@given(rows=ROWS)
def test_leave_one_out_holds_out_from_the_time_of_the_validation_item(rows: list[tuple[str, str, int]]) -> None:
    found = _interactions(rows)
    cases = split(found, DataConfig()).validation
    user, time = validation_times(found.user, found.time)
    assert (user.tolist(), time.tolist()) == (cases.user.tolist(), (cases.cutoff_us + 1).tolist())
    assert all(len(part) == 0 for part in validation_times(found.user[:0], found.time[:0]))
