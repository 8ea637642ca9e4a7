"""Blend weights, fitted on the validation set: non-negative weights that minimise the cross-entropy of the weighted scores.

Scores of each component are standardised by their spread, so that weights are comparable. The loss has few parameters and one minimum, so
every run finds the same weights. Letters in shapes: C cases, A candidates of a case (the relevant one first), P components.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lodestar.bundle.neighbours import NeighbourTable
from lodestar.data.split.splits import EvalCases
from lodestar.models.closed_form.closed_form_retrievers import Retriever
from lodestar.schema.arrays import Bool, Float
from lodestar.training.loop.batches import left_pad

MAX_CASES, CANDIDATES = 20_000, 1_000
STEPS, MIN_SHARE = 50, 0.01  # components whose share of the total weight is smaller are dropped


def fit_blend_weights(parts: Sequence[Retriever | NeighbourTable], cases: EvalCases, max_length: int, seed: int) -> list[float]:
    """Non-negative weights of the components' raw scores, fitted on at most MAX_CASES cases with CANDIDATES sampled negatives each."""
    num_items = next(len(part.vectors) for part in parts if isinstance(part, Retriever))
    rng = np.random.default_rng(seed)
    case_indices = np.sort(rng.permutation(len(cases))[:MAX_CASES])
    candidates = [np.concatenate([cases.relevant[case][:1], _sample_negatives(cases, case, num_items, rng)]) for case in case_indices]
    return fit_nonnegative_weights(
        torch.stack([_candidate_scores(part, cases, case_indices, candidates, max_length, num_items) for part in parts], dim=2)
    )


def fit_nonnegative_weights(
    scores_CAP: Float[Tensor, "cases candidates parts"], is_shut_CA: Bool[Tensor, "cases candidates"] | None = None
) -> list[float]:
    """Non-negative weights [P] that minimise the cross-entropy of the weighted sum of `scores_CAP` for candidate 0.

    Candidates with `is_shut_CA` true are left out of the softmax.
    """
    scores_CAP = scores_CAP.double()
    spread_P = scores_CAP.std(dim=(0, 1)).clamp_min(1e-12)
    scores_CAP = scores_CAP / spread_P
    excluded_CA = torch.zeros((), dtype=torch.bool) if is_shut_CA is None else is_shut_CA
    raw_P = torch.zeros(scores_CAP.shape[2], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw_P], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits_CA = (scores_CAP @ functional.softplus(raw_P)).masked_fill(excluded_CA, -torch.inf)
        total = (logits_CA.logsumexp(dim=1) - logits_CA[:, 0]).mean()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    weight_P = functional.softplus(raw_P.detach())
    weight_P[weight_P < MIN_SHARE * weight_P.sum()] = 0
    return [float(weight) for weight in weight_P / spread_P]


def _sample_negatives(cases: EvalCases, case: int, num_items: int, rng: np.random.Generator) -> np.ndarray:
    """Sample CANDIDATES items that may be recommended and are not relevant, with replacement, so that all cases have as many."""
    is_negative = np.ones(num_items, dtype=bool)
    is_negative[cases.excluded[case]] = is_negative[cases.relevant[case]] = False
    negatives = np.flatnonzero(is_negative)
    return negatives[rng.integers(0, len(negatives), CANDIDATES)] if len(negatives) else np.zeros(0, dtype=np.int64)


@torch.no_grad()
def _candidate_scores(
    part: Retriever | NeighbourTable,
    cases: EvalCases,
    case_indices: np.ndarray,
    candidates: list[np.ndarray],
    max_length: int,
    num_items: int,
) -> Tensor:
    """Scores of the candidates by one component, [C, A]; in small batches, since item vectors may have thousands of dimensions."""
    scores_CA, batch_size = [], 64
    for start in range(0, len(case_indices), batch_size):
        rows = slice(start, start + batch_size)
        histories = [cases.history[case] for case in case_indices[rows]]
        if isinstance(part, NeighbourTable):
            scores_BN = torch.zeros(len(histories), num_items)
            part.add_to(scores_BN.numpy(), histories)
        else:
            history, mask = left_pad([history[-max_length:] for history in histories])
            table = torch.from_numpy(part.vectors)
            scores_BN = part.encoder(table[history] * mask[:, :, None], mask) @ table.T
        scores_CA.append(scores_BN.gather(1, torch.from_numpy(np.stack(candidates[rows]))))
    return torch.cat(scores_CA)
