"""NDCG has one definition: on arrays, on tensors, and by its formula they are equal."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lodestar.metrics import ndcg, ndcg_torch

RANKS = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True), min_size=1, max_size=6)


def by_formula(ranks: list[int], k: int) -> float:
    gain = sum(1 / math.log2(rank + 2) for rank in ranks if rank < k)
    return gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(ranks))))


@given(ranks=RANKS, k=st.integers(1, 20))
def test_arrays_and_tensors_agree_with_the_formula(ranks: list[list[int]], k: int) -> None:
    rank, num_relevant = np.concatenate([np.array(row) for row in ranks]), np.array([len(row) for row in ranks])
    case = np.repeat(np.arange(len(ranks)), num_relevant)
    on_arrays = ndcg.ndcg(rank, case, num_relevant, k)
    ideal_dcg = torch.from_numpy(ndcg.ideal_dcg(num_relevant, k))
    on_tensors = ndcg_torch.ndcg(torch.from_numpy(rank), torch.from_numpy(case), ideal_dcg, k)
    assert on_arrays.tolist() == pytest.approx([by_formula(row, k) for row in ranks], abs=1e-12)
    assert on_tensors.tolist() == pytest.approx(on_arrays.tolist(), abs=1e-12)


def test_relevant_items_in_no_list_count_as_missed() -> None:
    only_first = ndcg.ndcg(np.array([0]), np.array([0]), np.array([2, 1]))
    assert only_first.tolist() == pytest.approx([1 / (1 + 1 / math.log2(3)), 0])
