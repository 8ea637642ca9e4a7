"""What holds for every split of every log."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lodestar.config import DataConfig
from lodestar.data.interactions import Interactions, from_events
from lodestar.data.splits import split
from tests import factories

CATALOGUE = [f"i{number}" for number in range(8)]
ROWS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from(CATALOGUE), st.integers(0, 20)), min_size=1, max_size=60)
CONFIGS = st.builds(
    DataConfig, split=st.sampled_from(["leave_one_out", "time"]), test_share=st.floats(0.05, 0.4), validation_share=st.floats(0.05, 0.4)
)


def _interactions(rows: list[tuple[str, str, int]]) -> Interactions:
    return from_events(factories.events(*rows), factories.items(*CATALOGUE))


@given(rows=ROWS)
def test_a_pair_is_kept_once_at_its_first_moment(rows: list[tuple[str, str, int]]) -> None:
    found = _interactions(rows)
    kept = {
        (found.users[user], found.items[item]): (time - factories.EPOCH_US) // factories.SECOND_US
        for user, item, time in zip(found.user, found.item, found.time, strict=True)
    }
    assert len(kept) == len(found.item)
    assert kept == {(user, item): min(time for *pair, time in rows if pair == [user, item]) for user, item, _ in rows}


@given(rows=ROWS)
def test_time_never_falls_within_a_user(rows: list[tuple[str, str, int]]) -> None:
    found = _interactions(rows)
    assert all(a <= b for a, b in pairwise(zip(found.user.tolist(), found.time.tolist(), strict=True)))


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
