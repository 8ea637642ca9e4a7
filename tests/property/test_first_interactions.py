"""Rows are sorted by radix, and the first event of each user on each item is kept: as a sort in Python finds it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from lodestar import schema
from lodestar.features.batch import event_partitions, sequences

# Numbers on both sides of 16 bits, which the radix sort takes in two passes, and times with ties and in any order.
NUMBER = some.sampled_from([0, 1, 2, 65_535, 65_536, 65_537, 131_072, 2**31 - 1])
EVENT = some.tuples(NUMBER, some.integers(0, 3), some.integers(0, 9))
USER, ITEM = (event_partitions.NUMBERS[entity] for entity in (schema.USER_ID, schema.ITEM_ID))


@given(numbers=some.lists(NUMBER | some.integers(0, 2**31 - 1)), is_wide=some.booleans())
def test_rows_of_a_number_keep_their_order(numbers: list[int], is_wide: bool) -> None:
    order = event_partitions.sort_by_number(np.array(numbers, dtype=np.int64 if is_wide else np.int32))
    assert order.tolist() == sorted(range(len(numbers)), key=numbers.__getitem__)


@given(events=some.lists(EVENT, max_size=30))
def test_of_each_user_and_item_the_earliest_event_is_kept(events: list[tuple[int, int, int]]) -> None:
    """Of equal times the first in the log, which `known` numbers here."""
    rows = np.zeros(len(events), dtype=event_partitions.row_dtype((schema.USER_ID, schema.ITEM_ID)))
    for place, event in enumerate(events):
        rows[place] = (*event, place, 0)
    expected: dict[tuple[int, int], tuple[int, int, int]] = {}
    for user, item, time, place in sorted(((*event, place) for place, event in enumerate(events)), key=lambda row: row[2:]):
        expected.setdefault((user, item), (user, time, place))
    found = sequences.first_of_each(rows)
    assert [(int(row[USER]), int(row["time"]), int(row["known"])) for row in found] == sorted(expected.values())
