"""From events to arrays, by hand."""

import pytest

from lodestar import schema
from lodestar.config import DataConfig
from lodestar.data.split.interactions import check_enough
from lodestar.errors import DataError
from lodestar.schema.time_units import SECOND_US
from tests import factories


def test_rows_run_by_user_then_time_and_equal_times_keep_the_order_of_the_file() -> None:
    events = factories.events(("b", "y", 5), ("a", "z", 7), ("a", "y", 3), ("a", "x", 7))
    found = factories.interactions(events, factories.items("x", "y", "z"))
    assert found.users == ["b", "a"]
    assert [items.tolist() for items in found.histories()] == [[1], [1, 2, 0]]
    assert found.time.tolist() == [factories.EPOCH_US + second * SECOND_US for second in (5, 3, 7, 7)]


def test_only_the_first_of_repeated_interactions_stays() -> None:
    events = factories.events(("a", "x", 9), ("a", "y", 2), ("a", "x", 1))
    found = factories.interactions(events, factories.items("x", "y"))
    assert [items.tolist() for items in found.histories()] == [[0, 1]]


def test_the_whole_catalogue_is_known_in_its_order_even_without_events() -> None:
    found = factories.interactions(factories.events(("a", "x", 1)), factories.items("z", "x", "never"))
    assert found.items == ["z", "x", "never"]
    assert found.item.tolist() == [1]


def test_an_event_about_an_item_that_is_not_there_yet_is_left_out() -> None:
    found = factories.interactions(factories.events(("a", "later", 1), ("b", "x", 2)), factories.items("x"))
    assert (found.users, found.item.tolist()) == (["b"], [0])


@pytest.mark.parametrize("event_type", sorted(set(schema.EventType) - schema.POSITIVE))
def test_negative_and_neutral_events_are_no_interactions(event_type: str) -> None:
    found = factories.interactions(factories.events(("a", "x", 1), event_type=event_type), factories.items("x"))
    assert (found.num_users, found.num_items, list(found.histories())) == (0, 1, [])


@pytest.mark.parametrize(
    ("minimum", "config"),
    [
        ("min_users", DataConfig(min_users=3, min_items=2, min_interactions=2)),
        ("min_items", DataConfig(min_users=2, min_items=3, min_interactions=2)),
        ("min_interactions", DataConfig(min_users=2, min_items=2, min_interactions=3)),
    ],
)
def test_too_little_to_learn_from_names_what_is_short(minimum: str, config: DataConfig) -> None:
    found = factories.interactions(factories.events(("a", "x", 1), ("b", "y", 1)), factories.items("x", "y"))
    with pytest.raises(DataError, match=f"E203.*{minimum}"):
        check_enough(found, config)


def test_exactly_the_minimum_is_enough() -> None:
    found = factories.interactions(factories.events(("a", "x", 1), ("b", "y", 1)), factories.items("x", "y"))
    check_enough(found, DataConfig(min_users=2, min_items=2, min_interactions=2))
