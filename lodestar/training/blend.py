"""How loud the memory speaks beside the Transformer: tried on the validation cases once the Transformer is done.

Learning the weight along with the Transformer is worse: on MovieLens-100K (one validation item and the two before it, one seed) NDCG@10 is
.127 without memory, .136 with a memory that is there from the first step, .139 with one that is added at the end.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lodestar.data.splits import Cases
from lodestar.models.counts import Sequences
from lodestar.models.memory import RECENT, Memory
from lodestar.models.next_item import NextItem
from lodestar.training.batches import padded
from lodestar.training.start import Vectors
from lodestar.training.validation import SCORES_AT_ONCE, SUMS, Quality, means, quality_sums, scored

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0)  # of the spread of scores


@torch.no_grad()
def choose_weight(model: NextItem, memory: Memory, places: Vectors, cases: Cases, max_length: int) -> tuple[float, Quality]:
    """The weight with the best NDCG@10, and what it gives; 0 is among those tried."""
    memory.weight.fill_(1.0)
    placed = torch.from_numpy(places)
    totals = torch.zeros(len(SHARES), SUMS, dtype=torch.float64)
    unit = 0.0
    model.eval()
    for chosen in _parts(cases, SCORES_AT_ONCE // len(places)):
        learnt_BN = scored(model, [cases.history[case][-max_length:] for case in chosen])
        counted_BN = remembered(memory, placed, [cases.history[case] for case in chosen])
        unit = unit or float(learnt_BN.std() / counted_BN.std().clamp_min(1e-12))
        for place, share in enumerate(SHARES):
            totals[place] += quality_sums(learnt_BN + share * unit * counted_BN, cases, chosen)
    best = int(totals[:, 1].argmax())
    return SHARES[best] * unit, means(totals[best], cases)


def remembered(memory: Memory, places_NR: Tensor, histories: Sequences) -> Tensor:
    """The memory's scores of all items for each history, [histories, items]."""
    history, mask = padded([history[-RECENT:] for history in histories])
    scores: Tensor = memory(places_NR[history], mask) @ places_NR.T
    return scores


def _parts(cases: Cases, size: int) -> Iterator[np.ndarray]:
    """Numbers of the cases, in a fixed order without pattern: the first part sets the unit."""
    order = np.random.default_rng(0).permutation(len(cases))
    for start in range(0, len(order), max(1, size)):
        yield order[start : start + max(1, size)]
