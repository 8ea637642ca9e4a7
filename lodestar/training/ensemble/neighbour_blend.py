"""Weight of co-occurrence neighbours added to a neural model's scores: grid search on the validation set after training.

Training the weight jointly is worse. On MovieLens-100K, with a truncated factorisation of the same counts (one validation item and the two
before it, one seed), NDCG@10 is .127 without neighbours, .136 with them from the first step, .139 with them added after training.
"""

from collections.abc import Iterator

import numpy as np
import torch

from lodestar.bundle.neighbours import NeighbourTable
from lodestar.data.split.splits import EvalCases
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.training.loop.batches import left_pad
from lodestar.training.loop.validation import SUMS, Quality, Targets, means, quality_sums, rows_at_once

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)  # grid, in units of the ratio of score standard deviations


@torch.no_grad()
def choose_weight(model: NextItemModel, neighbours: NeighbourTable, cases: EvalCases, max_length: int, seed: int) -> tuple[float, Quality]:
    """The neighbour weight with the best NDCG@10 on the cases, and the metrics with it; the grid includes 0. `neighbours` has weight 1."""
    num_items, device = model.items.num_embeddings, model.items.weight.device
    totals, unit = torch.zeros(len(SHARES), SUMS, dtype=torch.float64, device=device), 0.0
    model.eval()
    for chosen in _batches(cases, rows_at_once(num_items, device), seed):
        histories = [cases.history[case] for case in chosen]
        history, mask = left_pad([history[-max_length:] for history in histories])
        model_BN = model.scores(history.to(device), mask.to(device))
        neighbour_scores = np.zeros((len(chosen), num_items), dtype=np.float32)
        neighbours.add_to(neighbour_scores, histories)
        neighbour_BN, targets = torch.from_numpy(neighbour_scores).to(device), Targets.of(cases, chosen, device)
        unit = unit or float(model_BN.std() / neighbour_BN.std().clamp_min(1e-12))
        for index, share in enumerate(SHARES):
            totals[index] += quality_sums(model_BN + share * unit * neighbour_BN, targets)
    best = int(totals[:, 1].argmax())
    return SHARES[best] * unit, means(totals[best].cpu(), cases)


def _batches(cases: EvalCases, size: int, seed: int) -> Iterator[np.ndarray]:
    """Batches of case indices in a random order, since the first batch sets the unit of the grid."""
    order = np.random.default_rng(seed).permutation(len(cases))
    for start in range(0, len(order), max(1, size)):
        yield order[start : start + max(1, size)]
