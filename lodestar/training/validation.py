"""How good the model is between epochs: every item ranked for every case, seen items left out. Workers share the cases."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from lodestar.data.gaps import items_of
from lodestar.data.histories import packed
from lodestar.data.splits import Cases
from lodestar.models.next_item import NextItem
from lodestar.training.batches import padded
from lodestar.training.distributed import Group
from lodestar.training.parted_table import PartedTable

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
    """Asks a model about this worker's share of the cases, or `by_items` all workers about theirs of the items.

    On a GPU the questions stay there from one time to the next.
    """

    def __init__(self, cases: Cases, max_length: int, num_items: int, group: Group, *, by_items: bool = False) -> None:
        self.cases, self.max_length, self.num_items, self.group, self.by_items = cases, max_length, num_items, group, by_items
        self._kept = list(self._asked()) if group.device.type == "cuda" else None

    def __call__(self, model: NextItem | PartedTable) -> Quality:
        """HR@10, NDCG@10 and accuracy over all cases; every worker gets the same answer."""
        model.eval()
        total = torch.zeros(SUMS, dtype=torch.float64, device=self.group.device)
        own = Own(first=model.first, group=self.group) if isinstance(model, PartedTable) else None
        with torch.no_grad():
            for history, mask, answers in self._kept or self._asked():
                total += quality_sums(model.scores(history, mask), answers, own)
        sums = total.cpu()
        return means(sums if self.by_items else self.group.sum(sums), self.cases)

    def _asked(self) -> Iterator[tuple[Tensor, Tensor, Answers]]:
        """Histories with their masks, and their answers; those of one length together."""
        mine = np.arange(len(self.cases)) if self.by_items else np.arange(self.group.rank, len(self.cases), self.group.size)
        by_length = mine[np.argsort(packed(self.cases.history).lengths[mine], kind="stable")]
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
    most = int(np.bincount(packed(cases.relevant).flat()).max(initial=0))
    hits, gain, right, beaten = (sums / max(1, len(cases))).tolist()
    return Quality(hit_rate=hits, ndcg=gain, accuracy=right, auc=beaten, base_rate=most / max(1, len(cases)))


@dataclass(frozen=True, kw_only=True)
class Own:
    """The items of one of several workers that look at the same cases: from `first` on."""

    first: int
    group: Group

    def answers(self, all_of: Answers, count: int) -> Answers:
        """What there is to leave out and to find among these `count` items; what is to be found elsewhere lies at -1."""
        seen, relevant = all_of.seen - self.first, all_of.relevant - self.first
        is_here = (seen >= 0) & (seen < count)
        relevant = torch.where((relevant >= 0) & (relevant < count), relevant, -1)
        return replace(all_of, seen_row=all_of.seen_row[is_here], seen=seen[is_here], relevant=relevant)

    def scores(self, relevant_R: Tensor, scores_R: Tensor) -> Tensor:
        """Each from the worker that has it."""
        return self.group.sum(scores_R.masked_fill(relevant_R < 0, 0.0))


def quality_sums(scores_BN: Tensor, answers: Answers, own: Own | None = None) -> Tensor:
    """Sums over cases of hits, NDCG, right first items and AUC, float64 [4]; what a history holds is left out in place.

    Where the scores are those of this worker's `own` items, the sums are of all items.
    """
    if own is not None:
        answers = own.answers(answers, scores_BN.shape[1])
    scores_BN[answers.seen_row, answers.seen] = -torch.inf
    row, cases, device = answers.row, len(scores_BN), scores_BN.device
    own_R = scores_BN[row, answers.relevant]
    if own is not None:
        own_R = own.scores(answers.relevant, own_R)
    # "Not behind" counts ties and NaN against the model: a broken one never looks perfect.
    counts_2R = torch.stack([(~(scores_BN[row] < own_R[:, None])).sum(dim=1), (scores_BN > -torch.inf).sum(dim=1)[row]])
    rank_R, others_R = (counts_2R if own is None else own.group.sum(counts_2R)) - 1
    gain_R = (rank_R < CUTOFF) / torch.log2(rank_R.double() + 2)
    best_rank_B = torch.full((cases,), torch.iinfo(torch.int64).max, device=device).scatter_reduce(0, row, rank_R, "amin")
    ndcg_B = torch.zeros(cases, dtype=torch.float64, device=device).index_add(0, row, gain_R) / answers.most_gain
    beaten_R = (1 - rank_R / others_R.clamp_min(1)).clamp_min(0).double()
    auc_B = torch.zeros(cases, dtype=torch.float64, device=device).index_add(0, row, beaten_R) / torch.bincount(row, minlength=cases)
    return torch.stack([(best_rank_B < CUTOFF).sum(), ndcg_B.sum(), (best_rank_B == 0).sum(), auc_B.sum()])


def _flat(lists: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    return torch.from_numpy(rows), torch.from_numpy(items_of(np.concatenate(lists))).long()


def _ideal_gain(num_relevant: int) -> float:
    return float((1 / np.log2(np.arange(min(num_relevant, CUTOFF)) + 2)).sum())
