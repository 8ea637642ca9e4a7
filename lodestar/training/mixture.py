"""Weights of a blend, learnt on the validation items: the softmax of the weighted scores is to favour what was taken.

Each part is tuned by itself, and its scores are told in their own spread, so that weights can be compared. With few weights and a convex
loss there is one best answer, and every run finds it. Letters in shapes: C cases, A candidates of a case (the taken one first), P parts.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lodestar.data.splits import Cases
from lodestar.models.retriever import Retriever
from lodestar.neighbours import Neighbours
from lodestar.training.batches import padded

MOST_CASES, CANDIDATES = 20_000, 1_000
STEPS, SMALLEST = 50, 0.01  # a part that adds less than this share is left out


def learnt(parts: Sequence[Retriever | Neighbours], cases: Cases, max_length: int, seed: int) -> list[float]:
    """A weight of at least 0 for each part, for its scores as they are."""
    num_items = next(len(part.vectors) for part in parts if isinstance(part, Retriever))
    chance = np.random.default_rng(seed)
    asked = np.sort(chance.permutation(len(cases))[:MOST_CASES])
    chosen = [np.concatenate([cases.relevant[case][:1], _unseen(cases, case, num_items, chance)]) for case in asked]
    return weighed(torch.stack([_scores(part, cases, asked, chosen, max_length, num_items) for part in parts], dim=2))


def weighed(scores_CAP: Tensor, is_shut_CA: Tensor | None = None) -> list[float]:
    """The weights, none of them below 0, with which the softmax of the sum favours the first candidate; who is shut is none."""
    scores_CAP = scores_CAP.double()
    spread_P = scores_CAP.std(dim=(0, 1)).clamp_min(1e-12)
    scores_CAP = scores_CAP / spread_P
    shut_CA = torch.zeros((), dtype=torch.bool) if is_shut_CA is None else is_shut_CA
    raw_P = torch.zeros(scores_CAP.shape[2], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw_P], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits_CA = (scores_CAP @ functional.softplus(raw_P)).masked_fill(shut_CA, -torch.inf)
        total = (logits_CA.logsumexp(dim=1) - logits_CA[:, 0]).mean()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    weight_P = functional.softplus(raw_P.detach())
    weight_P[weight_P < SMALLEST * weight_P.sum()] = 0
    return [float(weight) for weight in weight_P / spread_P]


def _unseen(cases: Cases, case: int, num_items: int, chance: np.random.Generator) -> np.ndarray:
    """Drawn with replacement, so that every case has as many; an item that is seen gives its place to the next that is not."""
    is_open = np.ones(num_items, dtype=bool)
    is_open[cases.history[case]] = is_open[cases.relevant[case]] = False
    others = np.flatnonzero(is_open)
    return others[chance.integers(0, len(others), CANDIDATES)] if len(others) else np.zeros(0, dtype=np.int64)


@torch.no_grad()
def _scores(
    part: Retriever | Neighbours, cases: Cases, asked: np.ndarray, chosen: list[np.ndarray], max_length: int, num_items: int
) -> Tensor:
    """[C, A]; a few histories at once, for a part may have rows of thousands of numbers."""
    found, at_once = [], 64
    for start in range(0, len(asked), at_once):
        rows = slice(start, start + at_once)
        histories = [cases.history[case] for case in asked[rows]]
        if isinstance(part, Neighbours):
            scores_BN = torch.zeros(len(histories), num_items)
            part.add_to(scores_BN.numpy(), histories)
        else:
            history, mask = padded([history[-max_length:] for history in histories])
            table = torch.from_numpy(part.vectors)
            scores_BN = part.encoder(table[history] * mask[:, :, None], mask) @ table.T
        found.append(scores_BN.gather(1, torch.from_numpy(np.stack(chosen[rows]))))
    return torch.cat(found)
