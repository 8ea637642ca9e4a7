"""What the model is punished for. Letters in shapes: M places that predict, N items, K negatives, D width.

The full softmax is exact and, in chunks that stay in the cache, fastest up to some 50,000 items; the others look at drawn items only.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

CHUNK = 256  # rows of scores at once: 256 x 1,682 floats stay in a core's second-level cache
SCORES_ON_GPU = 1 << 24  # scores at once there

OfChunk = Callable[..., tuple[Tensor, Tensor]]


def softmax(
    users_MD: Float[Tensor, "places dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " places"],
    smoothing: float = 0.0,
    share_M: Float[Tensor, " places"] | None = None,
    of_chunk: OfChunk | None = None,
) -> Float[Tensor, ""]:
    """Sum over places of the cross-entropy over the whole catalogue, nats; `smoothing` spreads that share of the target evenly.

    `share_M` is how much each place counts. Scores are as precise as `users_MD`, sums at least float32. `of_chunk` is
    `softmax_of_chunk` or what was compiled of it.
    """
    share_M = torch.ones_like(users_MD[:, 0]) if share_M is None else share_M
    total: Tensor = _ChunkedSoftmax.apply(  # type: ignore[no-untyped-call]
        users_MD, items_ND, target_M, share_M, partial(of_chunk or softmax_of_chunk, smoothing=smoothing)
    )
    return total


def softmax_of_chunk(
    users_CD: Tensor, table_ND: Tensor, target_C: Tensor, share_C: Tensor, grad_items_ND: Tensor, smoothing: float
) -> tuple[Tensor, Tensor]:
    """The loss of C places and its gradient by their users; that by items is added to `grad_items_ND`."""
    scores_CN, row_C = users_CD @ table_ND.T, torch.arange(users_CD.shape[0], device=users_CD.device)
    wide = torch.promote_types(users_CD.dtype, torch.float32)
    wanted_C = (1 - smoothing) * scores_CN[row_C, target_C] + (smoothing * scores_CN.mean(dim=1) if smoothing else 0)
    top_C1 = scores_CN.amax(dim=1, keepdim=True)
    odds_CN = scores_CN.sub_(top_C1).exp_()
    mass_C1 = odds_CN.sum(dim=1, keepdim=True, dtype=wide)
    loss = (((mass_C1.log() + top_C1)[:, 0] - wanted_C) * share_C).sum()
    error_CN = odds_CN.mul_(share_C[:, None] / mass_C1)
    if smoothing:
        error_CN.sub_(smoothing / table_ND.shape[0] * share_C[:, None])
    error_CN[row_C, target_C] -= ((1 - smoothing) * share_C).to(error_CN.dtype)
    if error_CN.dtype == grad_items_ND.dtype:
        grad_items_ND.addmm_(error_CN.T, users_CD)
    else:
        grad_items_ND += error_CN.T @ users_CD
    return loss, error_CN @ table_ND


def sampled_softmax(
    users_MD: Float[Tensor, "places dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " places"],
    negatives_K: Int[Tensor, " negatives"],
    log_rate_K: Float[Tensor, " negatives"],
) -> Float[Tensor, " places"]:
    """The cross-entropy over the target and shared negatives; `log_rate_K` is the log of how often each is expected there."""
    own_M = (users_MD * items_ND[target_M]).sum(dim=1)
    # Sampled softmax over-penalises the items drawn most; subtracting log q makes it unbiased (Bengio & Senécal 2008).
    others_MK = users_MD @ items_ND[negatives_K].T - log_rate_K
    others_MK = others_MK.masked_fill(negatives_K[None, :] == target_M[:, None], -torch.inf)
    return torch.cat([own_M[:, None], others_MK], dim=1).logsumexp(dim=1) - own_M


def gbce(
    users_MD: Float[Tensor, "places dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " places"],
    negatives_K: Int[Tensor, " negatives"],
    calibration: float,
    num_items: int,
) -> Float[Tensor, " places"]:
    """A cross-entropy that undoes the overconfidence negative sampling causes; `calibration` 0 is plain BCE, 1 fully calibrated.

    The negatives are drawn from `num_items`, of which `items_ND` may hold those alone that a batch names.
    Petrov & Macdonald, "gSASRec", RecSys 2023, arXiv:2308.07192; the negatives are uniform and shared by a batch.
    """
    rate = len(negatives_K) / (num_items - 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    clicked_M = beta * functional.logsigmoid((users_MD * items_ND[target_M]).sum(dim=1))  # log sigmoid(s)**beta, without leaving log space
    ignored_MK = functional.logsigmoid(-users_MD @ items_ND[negatives_K].T)
    ignored_MK = ignored_MK.masked_fill(negatives_K[None, :] == target_M[:, None], 0.0)
    return -(clicked_M + ignored_MK.sum(dim=1)) / (1 + len(negatives_K))


def bce(
    users_MD: Float[Tensor, "places dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " places"],
    negative_M: Int[Tensor, " places"],
) -> Float[Tensor, " places"]:
    """The cross-entropy of "taken next or not", of the target and of a negative that is the place's own."""
    own_M, other_M = (functional.embedding(rows, items_ND) for rows in (target_M, negative_M))
    taken_M, left_M = (users_MD * own_M).sum(dim=1), (users_MD * other_M).sum(dim=1)
    return -(functional.logsigmoid(taken_M) + functional.logsigmoid(-left_M) * (negative_M != target_M)) / 2


def bpr(
    users_MD: Float[Tensor, "places dim"],
    items_ND: Float[Tensor, "items dim"],
    target_M: Int[Tensor, " places"],
    negative_M: Int[Tensor, " places"],
) -> Float[Tensor, " places"]:
    """How far the target is from beating its place's negative (Rendle et al., UAI 2009, arXiv:1205.2618)."""
    ahead_MD = functional.embedding(target_M, items_ND) - functional.embedding(negative_M, items_ND)
    return -functional.logsigmoid((users_MD * ahead_MD).sum(dim=1)) * (negative_M != target_M)


class _ChunkedSoftmax(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of rows: the [places, items] scores never exist as a whole."""

    @staticmethod
    def forward(ctx: Any, users_MD: Tensor, items_ND: Tensor, target_M: Tensor, share_M: Tensor, of_chunk: OfChunk) -> Tensor:
        grad_users, grad_items, table_ND = torch.empty_like(users_MD), torch.zeros_like(items_ND), items_ND.to(users_MD.dtype)
        total = torch.zeros((), dtype=torch.promote_types(users_MD.dtype, torch.float32), device=users_MD.device)
        size = max(CHUNK, SCORES_ON_GPU // len(items_ND)) if users_MD.is_cuda else CHUNK
        for start in range(0, len(users_MD), size):
            rows = slice(start, start + size)
            loss, grad_users[rows] = of_chunk(users_MD[rows], table_ND, target_M[rows], share_M[rows], grad_items)
            total += loss
        ctx.save_for_backward(grad_users, grad_items)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        grad_users, grad_items = ctx.saved_tensors
        return grad_users * gradients[0].to(grad_users.dtype), grad_items * gradients[0], None, None, None
