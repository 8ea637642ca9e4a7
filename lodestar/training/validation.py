"""How good the model is between epochs: every item ranked for every case, seen items left out. Workers share the cases."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lodestar.data.splits import Cases
from lodestar.models.counts import Sequences
from lodestar.models.next_item import NextItem
from lodestar.training.batches import padded
from lodestar.training.distributed import Group

CUTOFF = 10
SCORES_AT_ONCE = 1 << 22
SUMS = 4


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Means over cases, in 0–1.

    `accuracy` is the share whose first item was right, `base_rate` what naming one item to all would get; `auc` is how many of the unseen
    items the wanted one beats.
    """

    hit_rate: float
    ndcg: float
    accuracy: float
    auc: float = 0.0
    base_rate: float = 0.0


def judge(model: NextItem, cases: Cases, max_length: int, group: Group) -> Quality:
    """HR@10, NDCG@10 and accuracy over all cases; every worker gets the same answer."""
    mine = np.arange(group.rank, len(cases), group.size)
    by_length = mine[np.argsort([len(cases.history[case]) for case in mine], kind="stable")]
    rows = max(1, SCORES_AT_ONCE // model.items.num_embeddings)
    model.eval()
    total = torch.zeros(SUMS, dtype=torch.float64)
    for start in range(0, len(by_length), rows):
        total += _sums(model, cases, by_length[start : start + rows], max_length)
    return means(group.sum(total), cases)


def means(sums: Tensor, cases: Cases) -> Quality:
    """Means from what `quality_sums` gives for all cases."""
    wanted = np.concatenate(cases.relevant) if len(cases) else np.zeros(0, dtype=np.int32)
    most = int(np.bincount(wanted).max(initial=0))
    hits, gain, right, beaten = (sums / max(1, len(cases))).tolist()
    return Quality(hit_rate=hits, ndcg=gain, accuracy=right, auc=beaten, base_rate=most / max(1, len(cases)))


@torch.no_grad()
def _sums(model: NextItem, cases: Cases, chosen: np.ndarray, max_length: int) -> Tensor:
    return quality_sums(scored(model, [cases.history[case][-max_length:] for case in chosen]), cases, chosen)


def scored(model: NextItem, histories: Sequences) -> Tensor:
    """Scores of all items for each history, float32 [histories, items] on the CPU."""
    device = model.items.weight.device
    history, mask = padded(histories)
    return model.scores(history.to(device), mask.to(device)).cpu()


def quality_sums(scores_BN: Tensor, cases: Cases, chosen: np.ndarray) -> Tensor:
    """Sums over the chosen cases of hits, NDCG, right first items and AUC, float64 [4]; what a history holds is left out in place."""
    seen_row, seen = _flat([cases.history[case] for case in chosen])
    scores_BN[seen_row, seen] = -torch.inf
    row, relevant = _flat([cases.relevant[case] for case in chosen])
    own_R = scores_BN[row, relevant]
    # "Not behind" counts ties and NaN against the model: a broken one never looks perfect.
    rank_R = (~(scores_BN[row] < own_R[:, None])).sum(dim=1) - 1
    gain_R = (rank_R < CUTOFF) / torch.log2(rank_R.double() + 2)
    best_rank_B = torch.full((len(chosen),), len(scores_BN[0])).scatter_reduce(0, row, rank_R, "amin")
    most_B = torch.tensor([_ideal_gain(len(cases.relevant[case])) for case in chosen], dtype=torch.float64)
    ndcg_B = torch.zeros(len(chosen), dtype=torch.float64).index_add(0, row, gain_R) / most_B
    others_R = (scores_BN > -torch.inf).sum(dim=1)[row] - 1
    beaten_R = (1 - rank_R / others_R.clamp_min(1)).clamp_min(0).double()
    auc_B = torch.zeros(len(chosen), dtype=torch.float64).index_add(0, row, beaten_R) / torch.bincount(row, minlength=len(chosen))
    return torch.stack([(best_rank_B < CUTOFF).sum(), ndcg_B.sum(), (best_rank_B == 0).sum(), auc_B.sum()])


def _flat(lists: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    return torch.from_numpy(rows), torch.from_numpy(np.concatenate(lists)).long()


def _ideal_gain(num_relevant: int) -> float:
    return float((1 / np.log2(np.arange(min(num_relevant, CUTOFF)) + 2)).sum())
