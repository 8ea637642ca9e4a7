"""Validation between epochs: full ranking of all items for every case, without seen items, sharded over workers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar.bundle.timed_items import unpack_items
from lodestar.data.split.ragged_array import from_lists
from lodestar.data.split.splits import EvalCases
from lodestar.metrics.ndcg import CUTOFF, ideal_dcg
from lodestar.metrics.ndcg_torch import ndcg
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.schema.arrays import Float, Float64, Int
from lodestar.training.distributed.distributed import Group
from lodestar.training.distributed.sharded_embedding import ShardedItemTable
from lodestar.training.loop.batches import left_pad

SCORES_AT_ONCE = 1 << 22  # scores per batch on a CPU
SCORES_AT_ONCE_ON_GPU = 1 << 27
SUMS = 4


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Validation metrics: means over cases, in 0–1; hit rate and NDCG at cutoff 10.

    `accuracy` is the hit rate at 1, `base_rate` the accuracy of recommending the most frequent target to everyone; `auc` is the share of
    unseen items ranked below a relevant one.
    """

    hit_rate: float
    ndcg: float
    accuracy: float
    auc: float = 0.0
    base_rate: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Excluded and relevant items of a batch of cases, as (row, item) pairs on the scoring device; `ideal_dcg` per case.

    Those of `seen` may not be recommended, by the rules of feedback.
    """

    seen_row: Int[Tensor, " seen"]
    seen: Int[Tensor, " seen"]
    row: Int[Tensor, " relevant"]
    relevant: Int[Tensor, " relevant"]
    ideal_dcg: Float64[Tensor, " cases"]  # of each case, float64

    @classmethod
    def of(cls, cases: EvalCases, chosen: Int[NDArray[np.intp], " chosen"], device: torch.device | str = "cpu") -> Self:
        """The targets of the cases at these indices."""
        excluded = cases.excluded
        seen_row, seen = _flat([excluded[case] for case in chosen])
        row, relevant = _flat([cases.relevant[case] for case in chosen])
        ideal_dcg_B = torch.from_numpy(ideal_dcg(np.array([len(cases.relevant[case]) for case in chosen], dtype=np.int64)))
        tensors = (values.to(device) for values in (seen_row, seen, row, relevant, ideal_dcg_B))
        return cls(**dict(zip(("seen_row", "seen", "row", "relevant", "ideal_dcg"), tensors, strict=True)))


class Validator:
    """Validates a model on this worker's shard of the cases, or (`by_items`) on all cases with this worker's shard of the items.

    Batches are kept on a GPU between validations.
    """

    def __init__(self, cases: EvalCases, max_length: int, num_items: int, group: Group, *, by_items: bool = False) -> None:
        self.cases, self.max_length, self.num_items, self.group, self.by_items = cases, max_length, num_items, group, by_items
        self._cached_batches = list(self._batches()) if group.device.type == "cuda" else None

    def __call__(self, model: NextItemModel | ShardedItemTable) -> Quality:
        """Validation metrics over all cases; a collective call with equal results on all workers."""
        model.eval()
        total = torch.zeros(SUMS, dtype=torch.float64, device=self.group.device)
        item_shard = ItemShard(first=model.first, group=self.group) if isinstance(model, ShardedItemTable) else None
        with torch.no_grad():
            for history, mask, targets in self._cached_batches or self._batches():
                total += quality_sums(model.scores(history, mask), targets, item_shard)
        sums = total.cpu()
        return means(sums if self.by_items else self.group.sum(sums), self.cases)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor, Targets]]:
        """Batches of histories, masks and targets, bucketed by length."""
        shard = np.arange(len(self.cases)) if self.by_items else np.arange(self.group.rank, len(self.cases), self.group.size)
        by_length = shard[np.argsort(from_lists(self.cases.history).lengths[shard], kind="stable")]
        device, rows = self.group.device, rows_at_once(self.num_items, self.group.device)
        for start in range(0, len(by_length), rows):
            chosen = by_length[start : start + rows]
            history, mask = left_pad([self.cases.history[case][-self.max_length :] for case in chosen])
            yield history.to(device), mask.to(device), Targets.of(self.cases, chosen, device)


def rows_at_once(num_items: int, device: torch.device) -> int:
    """Histories per validation batch: as many as the limit of scores on the device allows."""
    return max(1, (SCORES_AT_ONCE_ON_GPU if device.type == "cuda" else SCORES_AT_ONCE) // num_items)


def means(sums: Float64[Tensor, " sums"], cases: EvalCases) -> Quality:
    """Metrics over all cases, from the total of `quality_sums`."""
    most_frequent = int(np.bincount(from_lists(cases.relevant).flat()).max(initial=0))
    hits, gain, correct, beaten = (sums / max(1, len(cases))).tolist()
    return Quality(hit_rate=hits, ndcg=gain, accuracy=correct, auc=beaten, base_rate=most_frequent / max(1, len(cases)))


@dataclass(frozen=True, kw_only=True)
class ItemShard:
    """The shard of items, from `first` on, of one of several workers that validate the same cases."""

    first: int
    group: Group

    def targets(self, all_of: Targets, count: int) -> Targets:
        """Targets within this shard of `count` items, by local index; relevant items of other shards have index -1."""
        seen, relevant = all_of.seen - self.first, all_of.relevant - self.first
        is_here = (seen >= 0) & (seen < count)
        relevant = torch.where((relevant >= 0) & (relevant < count), relevant, -1)
        return replace(all_of, seen_row=all_of.seen_row[is_here], seen=seen[is_here], relevant=relevant)

    def scores(self, relevant_R: Int[Tensor, " relevant"], scores_R: Float[Tensor, " relevant"]) -> Float[Tensor, " relevant"]:
        """All-reduce of the relevant items' scores, each from the worker that holds the item."""
        return self.group.sum(scores_R.masked_fill(relevant_R < 0, 0.0))


def quality_sums(
    scores_BN: Float[Tensor, "cases items"], targets: Targets, item_shard: ItemShard | None = None
) -> Float64[Tensor, " sums"]:
    """Sums over cases of hit rate, NDCG, accuracy and AUC, float64 [4]; scores of seen items are set to -inf in place.

    With `item_shard`, `scores_BN` are those of this worker's items, and the sums (a collective call) are over all items.
    """
    if item_shard is not None:
        targets = item_shard.targets(targets, scores_BN.shape[1])
    scores_BN[targets.seen_row, targets.seen] = -torch.inf
    row, cases, device = targets.row, len(scores_BN), scores_BN.device
    relevant_score_R = scores_BN[row, targets.relevant]
    if item_shard is not None:
        relevant_score_R = item_shard.scores(targets.relevant, relevant_score_R)
    # "Not behind" counts ties and NaN against the model: a broken one never looks perfect.
    counts_2R = torch.stack([_not_behind(scores_BN, row, relevant_score_R), (scores_BN > -torch.inf).sum(dim=1)[row]])
    rank_R, others_R = (counts_2R if item_shard is None else item_shard.group.sum(counts_2R)) - 1
    rank_R = rank_R - _tied_after(row, relevant_score_R)
    best_rank_B = torch.full((cases,), torch.iinfo(torch.int64).max, device=device).scatter_reduce(0, row, rank_R, "amin")
    ndcg_B = ndcg(rank_R, row, targets.ideal_dcg)
    beaten_R = (1 - rank_R / others_R.clamp_min(1)).clamp_min(0).double()
    auc_B = torch.zeros(cases, dtype=torch.float64, device=device).index_add(0, row, beaten_R) / torch.bincount(row, minlength=cases)
    return torch.stack([(best_rank_B < CUTOFF).sum(), ndcg_B.sum(), (best_rank_B == 0).sum(), auc_B.sum()])


def _not_behind(scores_BN: Tensor, row_R: Tensor, relevant_score_R: Tensor) -> Tensor:
    """How many items of its case do not score below each relevant item, itself included, int64 [R].

    A case's scores are copied for each of its relevant items: as many at a time as a batch may have histories.
    """
    at_once, found_R = rows_at_once(scores_BN.shape[1], scores_BN.device), torch.empty_like(row_R)
    for start in range(0, len(row_R), at_once):
        part = slice(start, start + at_once)
        found_R[part] = (~(scores_BN[row_R[part]] < relevant_score_R[part, None])).sum(dim=1)
    return found_R


def _tied_after(row_R: Tensor, relevant_score_R: Tensor) -> Tensor:
    """How many other relevant items of its case tie with each and rank after it, int64 [R]: they are not counted against it."""
    order_R = relevant_score_R.argsort(stable=True)
    order_R = order_R[row_R[order_R].argsort(stable=True)]
    row, score = row_R[order_R], relevant_score_R[order_R]
    is_first_R = torch.ones_like(row, dtype=torch.bool)
    is_first_R[1:] = (row[1:] != row[:-1]) | (score[1:] != score[:-1])  # NaN ties with nothing
    group_R, place_R = is_first_R.cumsum(0) - 1, torch.arange(len(row), device=row.device)
    end_G = torch.zeros_like(row).scatter_reduce(0, group_R, place_R, "amax")
    return torch.empty_like(row).scatter(0, order_R, end_G[group_R] - place_R)


def _flat(lists: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    rows = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    return torch.from_numpy(rows), torch.from_numpy(unpack_items(np.concatenate(lists))).long()
