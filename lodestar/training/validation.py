"""How good the model is between epochs: every item ranked for every case, seen items left out. Workers share the cases."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lodestar.data.gaps import items_of
from lodestar.data.splits import Cases
from lodestar.models.next_item import NextItem
from lodestar.training.batches import padded
from lodestar.training.distributed import Group

CUTOFF = 10
SCORES_AT_ONCE = 1 << 22  # on a CPU
SCORES_AT_ONCE_ON_GPU = 1 << 27
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


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Of some cases, as pairs of row and item on the device that scores: what each history holds, and what is to be found."""

    seen_row: Tensor
    seen: Tensor
    row: Tensor
    relevant: Tensor
    most_gain: Tensor  # of each case, float64

    @classmethod
    def of(cls, cases: Cases, chosen: np.ndarray, device: torch.device | str = "cpu") -> Self:
        seen_row, seen = _flat([cases.history[case] for case in chosen])
        row, relevant = _flat([cases.relevant[case] for case in chosen])
        most = torch.tensor([_ideal_gain(len(cases.relevant[case])) for case in chosen], dtype=torch.float64)
        found = (values.to(device) for values in (seen_row, seen, row, relevant, most))
        return cls(**dict(zip(("seen_row", "seen", "row", "relevant", "most_gain"), found, strict=True)))


class Judge:
    """Asks a model about this worker's share of the cases; on a GPU the questions stay there from one time to the next."""

    def __init__(self, cases: Cases, max_length: int, num_items: int, group: Group) -> None:
        self.cases, self.max_length, self.num_items, self.group = cases, max_length, num_items, group
        self._kept = list(self._asked()) if group.device.type == "cuda" else None

    def __call__(self, model: NextItem) -> Quality:
        """HR@10, NDCG@10 and accuracy over all cases; every worker gets the same answer."""
        model.eval()
        total = torch.zeros(SUMS, dtype=torch.float64, device=self.group.device)
        with torch.no_grad():
            for history, mask, answers in self._kept or self._asked():
                total += quality_sums(model.scores(history, mask), answers)
        return means(self.group.sum(total.cpu()), self.cases)

    def _asked(self) -> Iterator[tuple[Tensor, Tensor, Answers]]:
        """Histories with their masks, and their answers; those of one length together."""
        mine = np.arange(self.group.rank, len(self.cases), self.group.size)
        by_length = mine[np.argsort([len(self.cases.history[case]) for case in mine], kind="stable")]
        device, rows = self.group.device, rows_at_once(self.num_items, self.group.device)
        for start in range(0, len(by_length), rows):
            chosen = by_length[start : start + rows]
            history, mask = padded([self.cases.history[case][-self.max_length :] for case in chosen])
            yield history.to(device), mask.to(device), Answers.of(self.cases, chosen, device)


def rows_at_once(num_items: int, device: torch.device) -> int:
    """How many histories' scores of all items are held at a time."""
    return max(1, (SCORES_AT_ONCE_ON_GPU if device.type == "cuda" else SCORES_AT_ONCE) // num_items)


def means(sums: Tensor, cases: Cases) -> Quality:
    """Means from what `quality_sums` gives for all cases."""
    wanted = np.concatenate(cases.relevant) if len(cases) else np.zeros(0, dtype=np.int32)
    most = int(np.bincount(wanted).max(initial=0))
    hits, gain, right, beaten = (sums / max(1, len(cases))).tolist()
    return Quality(hit_rate=hits, ndcg=gain, accuracy=right, auc=beaten, base_rate=most / max(1, len(cases)))


def quality_sums(scores_BN: Tensor, answers: Answers) -> Tensor:
    """Sums over cases of hits, NDCG, right first items and AUC, float64 [4]; what a history holds is left out in place."""
    scores_BN[answers.seen_row, answers.seen] = -torch.inf
    row, cases, device = answers.row, len(scores_BN), scores_BN.device
    own_R = scores_BN[row, answers.relevant]
    # "Not behind" counts ties and NaN against the model: a broken one never looks perfect.
    rank_R = (~(scores_BN[row] < own_R[:, None])).sum(dim=1) - 1
    gain_R = (rank_R < CUTOFF) / torch.log2(rank_R.double() + 2)
    best_rank_B = torch.full((cases,), scores_BN.shape[1], device=device).scatter_reduce(0, row, rank_R, "amin")
    ndcg_B = torch.zeros(cases, dtype=torch.float64, device=device).index_add(0, row, gain_R) / answers.most_gain
    others_R = (scores_BN > -torch.inf).sum(dim=1)[row] - 1
    beaten_R = (1 - rank_R / others_R.clamp_min(1)).clamp_min(0).double()
    auc_B = torch.zeros(cases, dtype=torch.float64, device=device).index_add(0, row, beaten_R) / torch.bincount(row, minlength=cases)
    return torch.stack([(best_rank_B < CUTOFF).sum(), ndcg_B.sum(), (best_rank_B == 0).sum(), auc_B.sum()])


def _flat(lists: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    return torch.from_numpy(rows), torch.from_numpy(items_of(np.concatenate(lists))).long()


def _ideal_gain(num_relevant: int) -> float:
    return float((1 / np.log2(np.arange(min(num_relevant, CUTOFF)) + 2)).sum())
