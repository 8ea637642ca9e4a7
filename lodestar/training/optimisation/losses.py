"""Training losses: full softmax cross-entropy, sampled softmax, gBCE, BCE, BPR.

The full softmax is exact and, in chunks that stay in the cache, fastest up to some 50,000 items; the others use sampled negatives.
Letters in shapes: M positions that predict, C positions of a chunk, N items, K negatives, D width.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lodestar.schema.arrays import Float, Int

CHUNK = 256  # rows of scores per chunk: 256 x 1,682 floats stay in a core's L2 cache
SCORES_ON_GPU = 1 << 24  # scores per chunk on a GPU

ChunkFn = Callable[..., tuple[Float[Tensor, ""], Float[Tensor, "chunk dim"]]]


def softmax(
    users_MD: Float[Tensor, "positions dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " positions"],
    smoothing: float = 0.0,
    weight_M: Float[Tensor, " positions"] | None = None,
    chunk_fn: ChunkFn | None = None,
) -> Float[Tensor, ""]:
    """Full softmax: sum over positions of the cross-entropy over the whole catalogue, in nats, with label `smoothing`.

    `weight_M` weights positions. Scores have the dtype of `users_MD`, sums at least float32. `chunk_fn` is `softmax_chunk` or its compiled
    form. Chunks are computed with their gradients in one pass, so that the [M, N] scores never exist as a whole.
    """
    weight_M = torch.ones_like(users_MD[:, 0]) if weight_M is None else weight_M
    total: Tensor = _ChunkedSoftmax.apply(  # type: ignore[no-untyped-call]
        users_MD, items_ND, target_M, weight_M, partial(chunk_fn or softmax_chunk, smoothing=smoothing)
    )
    return total


def softmax_chunk(
    users_CD: Float[Tensor, "chunk dim"],
    table_ND: Float[Tensor, "items dim"],
    target_C: Int[Tensor, " chunk"],
    weight_C: Float[Tensor, " chunk"],
    grad_items_ND: Float[Tensor, "items dim"],
    smoothing: float,
) -> tuple[Float[Tensor, ""], Float[Tensor, "chunk dim"]]:
    """Loss of a chunk (scalar) and its gradient by users [C, D]; the gradient by items is accumulated into `grad_items_ND`."""
    scores_CN, row_C = users_CD @ table_ND.T, torch.arange(users_CD.shape[0], device=users_CD.device)
    wide = torch.promote_types(users_CD.dtype, torch.float32)
    target_score_C = (1 - smoothing) * scores_CN[row_C, target_C] + (smoothing * scores_CN.mean(dim=1) if smoothing else 0)
    max_C1 = scores_CN.amax(dim=1, keepdim=True)
    exp_CN = scores_CN.sub_(max_C1).exp_()
    sum_C1 = exp_CN.sum(dim=1, keepdim=True, dtype=wide)
    loss = (((sum_C1.log() + max_C1)[:, 0] - target_score_C) * weight_C).sum()
    error_CN = exp_CN.mul_(weight_C[:, None] / sum_C1)
    if smoothing:
        error_CN.sub_(smoothing / table_ND.shape[0] * weight_C[:, None])
    error_CN[row_C, target_C] -= ((1 - smoothing) * weight_C).to(error_CN.dtype)
    if error_CN.dtype == grad_items_ND.dtype:
        grad_items_ND.addmm_(error_CN.T, users_CD)
    else:
        grad_items_ND += error_CN.T @ users_CD
    return loss, error_CN @ table_ND


def sampled_softmax(
    users_MD: Float[Tensor, "positions dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " positions"],
    negatives_K: Int[Tensor, " negatives"],
    log_q_K: Float[Tensor, " negatives"],
) -> Float[Tensor, " positions"]:
    """Sampled softmax with logQ correction: cross-entropy over the target and shared negatives, nats per position.

    `log_q_K` is the log of each negative's expected count in the sample (Bengio & Senécal, IEEE TNN 2008). Negatives equal to a position's
    target are masked.
    """
    target_score_M = (users_MD * items_ND[target_M]).sum(dim=1)
    # Sampled softmax over-penalises the items sampled most; subtracting log q makes it unbiased (Bengio & Senécal 2008).
    negative_score_MK = users_MD @ items_ND[negatives_K].T - log_q_K
    negative_score_MK = negative_score_MK.masked_fill(negatives_K[None, :] == target_M[:, None], -torch.inf)
    return torch.cat([target_score_M[:, None], negative_score_MK], dim=1).logsumexp(dim=1) - target_score_M


def gbce(
    users_MD: Float[Tensor, "positions dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " positions"],
    negatives_K: Int[Tensor, " negatives"],
    calibration: float,
    num_items: int,
) -> Float[Tensor, " positions"]:
    """Loss gBCE: binary cross-entropy calibrated for negative sampling; `calibration` (t) 0 is plain BCE, 1 fully calibrated.

    Petrov & Macdonald, "gSASRec", RecSys 2023, arXiv:2308.07192; with uniform negatives shared by the batch. Negatives are sampled from
    `num_items`, at most one for each item but the target: with more, the target would count for more than in BCE. `items_ND` may hold the
    batch's items only.
    """
    rate = len(negatives_K) / max(1, num_items - 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    target_score_M = (users_MD * items_ND[target_M]).sum(dim=1)
    target_loss_M = beta * functional.logsigmoid(target_score_M)  # log sigmoid(s)**beta, without leaving log space
    negative_loss_MK = functional.logsigmoid(-users_MD @ items_ND[negatives_K].T)
    negative_loss_MK = negative_loss_MK.masked_fill(negatives_K[None, :] == target_M[:, None], 0.0)
    return -(target_loss_M + negative_loss_MK.sum(dim=1)) / (1 + len(negatives_K))


def bce(
    users_MD: Float[Tensor, "positions dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " positions"],
    negative_M: Int[Tensor, " positions"],
) -> Float[Tensor, " positions"]:
    """Binary cross-entropy of the target and one negative per position, the loss of SASRec (Kang & McAuley, ICDM 2018)."""
    target_MD, negative_MD = (functional.embedding(rows, items_ND) for rows in (target_M, negative_M))
    target_score_M, negative_score_M = (users_MD * target_MD).sum(dim=1), (users_MD * negative_MD).sum(dim=1)
    return -(functional.logsigmoid(target_score_M) + functional.logsigmoid(-negative_score_M) * (negative_M != target_M)) / 2


def bpr(
    users_MD: Float[Tensor, "positions dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " positions"],
    negative_M: Int[Tensor, " positions"],
) -> Float[Tensor, " positions"]:
    """Bayesian personalised ranking (BPR) of the target over one negative per position (Rendle et al., UAI 2009, arXiv:1205.2618)."""
    difference_MD = functional.embedding(target_M, items_ND) - functional.embedding(negative_M, items_ND)
    return -functional.logsigmoid((users_MD * difference_MD).sum(dim=1)) * (negative_M != target_M)


def below_target(
    users_MD: Float[Tensor, "positions dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " positions"],
    refused_M: Int[Tensor, " positions"],
) -> Float[Tensor, " positions"]:
    """BPR of the target over an item that the user refused, 0 where that is negative (none) or the target itself.

    Explicit negatives in a pairwise loss, as of Rendle et al., UAI 2009; sampled negatives rarely name what a user saw and did not want.
    """
    is_one = (refused_M >= 0) & (refused_M != target_M)
    return bpr(users_MD, items_ND, target_M, torch.where(is_one, refused_M, target_M))


class _ChunkedSoftmax(torch.autograd.Function):
    """Autograd function: loss and both gradients in one pass over chunks of rows."""

    @staticmethod
    def forward(ctx: Any, users_MD: Tensor, items_ND: Tensor, target_M: Tensor, weight_M: Tensor, chunk_fn: ChunkFn) -> Tensor:
        grad_users, grad_items, table_ND = torch.empty_like(users_MD), torch.zeros_like(items_ND), items_ND.to(users_MD.dtype)
        total = torch.zeros((), dtype=torch.promote_types(users_MD.dtype, torch.float32), device=users_MD.device)
        size = max(CHUNK, SCORES_ON_GPU // len(items_ND)) if users_MD.is_cuda else CHUNK
        for start in range(0, len(users_MD), size):
            rows = slice(start, start + size)
            loss, grad_users[rows] = chunk_fn(users_MD[rows], table_ND, target_M[rows], weight_M[rows], grad_items)
            total += loss
        ctx.save_for_backward(grad_users, grad_items)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_users, grad_items = ctx.saved_tensors
        return grad_users * gradients[0].to(grad_users.dtype), grad_items * gradients[0], None, None, None
