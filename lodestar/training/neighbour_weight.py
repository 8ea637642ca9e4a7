"""How loud counted neighbours speak beside a model: tried on the validation cases once the model has learnt.

Learning the weight along with the model is worse. On MovieLens-100K, tried with the main directions of the same counts (one validation item
and the two before it, one seed), NDCG@10 is .127 without them, .136 with them from the first step, .139 where they are added at the end.
"""

from collections.abc import Iterator

import numpy as np
import torch

from lodestar.data.splits import Cases
from lodestar.models.next_item import NextItem
from lodestar.neighbours import Neighbours
from lodestar.training.batches import padded
from lodestar.training.validation import SUMS, Answers, Quality, means, quality_sums, rows_at_once

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)  # of the spread of scores


@torch.no_grad()
def choose_weight(model: NextItem, neighbours: Neighbours, cases: Cases, max_length: int) -> tuple[float, Quality]:
    """The weight with the best NDCG@10, and what it gives; 0 is among those tried. `neighbours` has weight 1."""
    num_items, device = model.items.num_embeddings, model.items.weight.device
    totals, unit = torch.zeros(len(SHARES), SUMS, dtype=torch.float64, device=device), 0.0
    model.eval()
    for chosen in _parts(cases, rows_at_once(num_items, device)):
        histories = [cases.history[case] for case in chosen]
        history, mask = padded([history[-max_length:] for history in histories])
        learnt_BN = model.scores(history.to(device), mask.to(device))
        counted = np.zeros((len(chosen), num_items), dtype=np.float32)
        neighbours.add_to(counted, histories)
        counted_BN, answers = torch.from_numpy(counted).to(device), Answers.of(cases, chosen, device)
        unit = unit or float(learnt_BN.std() / counted_BN.std().clamp_min(1e-12))
        for place, share in enumerate(SHARES):
            totals[place] += quality_sums(learnt_BN + share * unit * counted_BN, answers)
    best = int(totals[:, 1].argmax())
    return SHARES[best] * unit, means(totals[best].cpu(), cases)


def _parts(cases: Cases, size: int) -> Iterator[np.ndarray]:
    """Numbers of the cases, in a fixed order without pattern: the first part sets the unit."""
    order = np.random.default_rng(0).permutation(len(cases))
    for start in range(0, len(order), max(1, size)):
        yield order[start : start + max(1, size)]
