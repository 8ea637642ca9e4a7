"""NDCG on tensors, for validation on a GPU; `lodestar.metrics.ndcg` is the same on arrays."""

import torch
from torch import Tensor

from lodestar.metrics.ndcg import CUTOFF
from lodestar.schema.arrays import Float64, Int


def ndcg(
    rank_R: Int[Tensor, " ranked"], case_R: Int[Tensor, " ranked"], ideal_dcg_C: Float64[Tensor, " cases"], k: int = CUTOFF
) -> Float64[Tensor, " cases"]:
    """NDCG@k in 0–1, float64 [C], of ranks from 0, on their device; `ideal_dcg_C` is that of `lodestar.metrics.ndcg`, float64."""
    gain_R = (rank_R < k) / torch.log2(rank_R.double() + 2)
    return torch.zeros_like(ideal_dcg_C).index_add(0, case_R, gain_R) / ideal_dcg_C
