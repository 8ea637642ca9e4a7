"""Splits of small logs, by hand."""

from lodestar.config import DataConfig
from lodestar.data.split.splits import EvalCases, split
from tests import factories


def _listed(cases: EvalCases) -> list[tuple[int, list[int], list[int]]]:
    return [
        (int(user), past.tolist(), wanted.tolist()) for user, past, wanted in zip(cases.user, cases.history, cases.relevant, strict=True)
    ]


def test_leave_one_out_tests_the_last_and_validates_the_one_before() -> None:
    events = factories.events(*(("a", item, second) for second, item in enumerate("xyzw")), ("b", "x", 0), ("b", "y", 1))
    found = split(factories.interactions(events, factories.items(*"xyzw")), DataConfig())
    assert [items.tolist() for items in found.train] == [[0, 1], [0, 1]]
    assert _listed(found.validation) == [(0, [0, 1], [2])]
    assert _listed(found.test) == [(0, [0, 1, 2], [3])]
    assert [items.tolist() for items in found.before_test] == [[0, 1, 2], [0, 1]]


def test_a_split_by_time_has_one_cutoff_for_everyone() -> None:
    rows = [("a", f"i{second}", second) for second in range(0, 10, 2)] + [("b", f"i{second}", second) for second in range(1, 10, 2)]
    interactions = factories.interactions(factories.events(*rows), factories.items(*(f"i{number}" for number in range(10))))
    found = split(interactions, DataConfig(split="time", test_share=0.2, validation_share=0.2))
    assert [items.tolist() for items in found.train] == [[0, 2, 4], [1, 3, 5]]
    assert _listed(found.validation) == [(0, [0, 2, 4], [6]), (1, [1, 3, 5], [7])]
    assert _listed(found.test) == [(0, [0, 2, 4, 6], [8]), (1, [1, 3, 5, 7], [9])]


def test_a_user_who_comes_after_the_cut_is_left_out_and_counted() -> None:
    rows = [("a", f"i{second}", second) for second in range(9)] + [("new", "i0", 9)]
    interactions = factories.interactions(factories.events(*rows), factories.items(*(f"i{number}" for number in range(9))))
    found = split(interactions, DataConfig(split="time", test_share=0.2, validation_share=0.2))
    assert _listed(found.test) == [(0, [0, 1, 2, 3, 4, 5, 6, 7], [8])]
    assert found.test.left_out == 1
    assert [items.tolist() for items in found.train] == [[0, 1, 2, 3, 4, 5], []]


def test_a_user_who_comes_first_in_the_validation_part_is_known_before_the_test() -> None:
    rows = [("a", f"i{second}", second) for second in range(8)] + [("new", "i1", 6), ("new", "i8", 9)]
    interactions = factories.interactions(factories.events(*rows), factories.items(*(f"i{number}" for number in range(9))))
    found = split(interactions, DataConfig(split="time", test_share=0.2, validation_share=0.2))
    assert [items.tolist() for items in found.train] == [[0, 1, 2, 3, 4, 5], []]
    assert [items.tolist() for items in found.before_test] == [[0, 1, 2, 3, 4, 5, 6], [1]]
    assert (1, [1], [8]) in _listed(found.test)


def test_no_interaction_at_all_splits_into_nothing() -> None:
    interactions = factories.interactions(factories.events(), factories.items("x"))
    for config in (DataConfig(), DataConfig(split="time")):
        found = split(interactions, config)
        assert (len(found.train), len(found.validation), len(found.test)) == (0, 0, 0)
