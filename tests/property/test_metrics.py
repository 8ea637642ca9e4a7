"""What holds for the metrics of every ranking."""

import math
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestar.data.split.splits import EvalCases
from lodestar.evaluation import metrics
from lodestar.evaluation.metrics import NO_ITEM, Ranking, per_case, rank
from lodestar.progress import Progress
from lodestar.schema.arrays import Doubles

NUM_ITEMS = 9
CUTOFFS = tuple(range(1, NUM_ITEMS + 1))
Row = tuple[list[int], list[int], list[float]]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """A history, what is relevant beside it, and scores that are often equal."""
    order = draw(st.permutations(range(NUM_ITEMS)))
    seen = draw(st.integers(0, NUM_ITEMS - 1))
    relevant = draw(st.integers(1, NUM_ITEMS - seen))
    scores = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=NUM_ITEMS, max_size=NUM_ITEMS))
    return list(order[:seen]), list(order[seen : seen + relevant]), scores


TABLES = st.lists(rows(), min_size=1, max_size=6)


def ranking_of(table: Sequence[Row]) -> Ranking:
    cases = EvalCases(
        user=np.arange(len(table), dtype=np.int32),
        history=[np.array(history, dtype=np.int32) for history, _, _ in table],
        relevant=[np.array(relevant, dtype=np.int32) for _, relevant, _ in table],
    )
    left = iter([scores for _, _, scores in table])
    with Progress("test", len(table)) as progress:
        return rank(lambda histories: np.array([next(left) for _ in histories], dtype=np.float32), cases, NUM_ITEMS, NUM_ITEMS, progress)


def naive(row: Row, k: int) -> dict[str, float]:
    """The metrics by a loop over one sorted list."""
    seen, relevant, scores = row
    order = sorted((item for item in range(NUM_ITEMS) if item not in seen), key=lambda item: (-scores[item], item in relevant))
    hits = [item in relevant for item in order[:k]]
    gain = sum(1 / math.log2(place + 2) for place, hit in enumerate(hits) if hit)
    most = sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant))))
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return {
        f"hr_at_{k}": float(any(hits)),
        f"recall_at_{k}": sum(hits) / len(relevant),
        f"ndcg_at_{k}": gain / most,
        f"mrr_at_{k}": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
        f"map_at_{k}": sum(precisions) / min(k, len(relevant)),
    }


@given(table=TABLES)
def test_the_values_are_those_of_a_naive_loop(table: list[Row]) -> None:
    found = per_case(ranking_of(table), CUTOFFS)
    for case, row in enumerate(table):
        expected = {name: value for k in CUTOFFS for name, value in naive(row, k).items()}
        assert {name: values[case] for name, values in found.items()} == pytest.approx(expected)


@given(table=TABLES)
def test_every_value_lies_between_none_and_all(table: list[Row]) -> None:
    for values in per_case(ranking_of(table), CUTOFFS).values():
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()


@given(table=TABLES)
@pytest.mark.parametrize("name", ["hr", "recall", "mrr"])
def test_a_longer_list_never_finds_less(table: list[Row], name: str) -> None:
    found = per_case(ranking_of(table), CUTOFFS)
    for shorter, longer in pairwise(CUTOFFS):
        assert (found[f"{name}_at_{shorter}"] <= found[f"{name}_at_{longer}"]).all()


@given(table=TABLES, rng=st.randoms(use_true_random=False))
def test_the_order_of_users_does_not_matter(table: list[Row], rng: Random) -> None:
    order = list(range(len(table)))
    rng.shuffle(order)
    before, after = per_case(ranking_of(table), CUTOFFS), per_case(ranking_of([table[place] for place in order]), CUTOFFS)
    assert all((before[name][order] == after[name]).all() for name in before)


@given(table=TABLES)
def test_breaking_a_tie_for_the_model_never_makes_it_worse(table: list[Row]) -> None:
    helped = [(seen, relevant, [score + 0.1 * (item in relevant) for item, score in enumerate(scores)]) for seen, relevant, scores in table]
    before, after = per_case(ranking_of(table), CUTOFFS), per_case(ranking_of(helped), CUTOFFS)
    assert all((after[name] >= before[name] - 1e-12).all() for name in before)


@given(table=TABLES, at_once=st.integers(1, 40))
def test_chunks_change_nothing(table: list[Row], at_once: int) -> None:
    whole = ranking_of(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "SCORES_AT_ONCE", at_once)
        parts = ranking_of(table)
    assert (whole.rank == parts.rank).all()
    assert (whole.top == parts.top).all()


@given(table=TABLES)
def test_lists_hold_each_unseen_item_once(table: list[Row]) -> None:
    for shown, (seen, _, _) in zip(ranking_of(table).top, table, strict=True):
        assert sorted(item for item in shown if item != NO_ITEM) == sorted(set(range(NUM_ITEMS)) - set(seen))


@given(shown=st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_gini_lies_between_equal_and_alone(shown: list[int]) -> None:
    counts: Doubles = np.array(shown, dtype=np.float64)
    value = metrics.gini(counts.astype(np.int64))
    assert 0 <= value < 1
    assert value == pytest.approx(np.abs(counts[:, None] - counts).sum() / max(1, 2 * len(counts) * counts.sum()))
