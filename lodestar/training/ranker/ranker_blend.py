"""Task weights of the ranker added to retrieval scores: fitted on the validation set, with the model of the search stage.

That model was not trained on the validation items. Letters in shapes: M cases, C candidates, K tasks, P scores (retrieval and tasks),
D item inputs, F count features.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lodestar import schema
from lodestar.bundle.neighbours import NeighbourTable
from lodestar.bundle.timed_items import unpack_items
from lodestar.data.split.splits import EvalCases
from lodestar.features.asof import historical_counts
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.metrics.ndcg import CUTOFF, ndcg
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.models.ranker.ranker import Ranker
from lodestar.progress import Progress
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Bool, Float, Float32, Floats, Int64, Longs
from lodestar.training.ensemble.blend_weights import fit_nonnegative_weights
from lodestar.training.loop.batches import left_pad
from lodestar.training.loop.validation import rows_at_once

MAX_CASES = 5_000
CASES_AT_ONCE = 64
SHARES = (0.0, 0.5, 1.0, 2.0)  # grid of multiples of the weights with the least loss; ties go to the first


@dataclass(frozen=True, kw_only=True)
class Shortlists:
    """Top candidates of cases by retrieval score, descending: `item`, `score` and relevance (`is_relevant`), [M, C] each."""

    cases: EvalCases
    item: Int64[Longs, "cases candidates"]
    score: Float[Tensor, "cases candidates"]
    is_relevant: Bool[Tensor, "cases candidates"]


def sample_cases(cases: EvalCases, seed: int) -> EvalCases:
    """Sample at most MAX_CASES cases, in their order; their events' times are not needed."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(cases))[:MAX_CASES])
    return replace(cases.select(chosen), time=())


@torch.no_grad()
def retrieve_candidates(
    model: NextItemModel, neighbours: NeighbourTable | None, features: FeatureSet, cases: EvalCases, num_candidates: int, max_length: int
) -> Shortlists:
    """Retrieve `num_candidates` candidates for each case, without seen or inactive items.

    If there are fewer candidates, the rest of a row are such items with a score of -inf.
    """
    model.eval()
    device, num_items = model.items.weight.device, len(features.items)
    is_inactive, items, scores = torch.from_numpy(~features.items.is_active), [], []
    for start in range(0, len(cases), batch_size := rows_at_once(num_items, device)):
        histories = cases.history[start : start + batch_size]
        history, mask = left_pad([history[-max_length:] for history in histories])
        scores_BN = model.scores(history.to(device), mask.to(device)).cpu()
        if neighbours is not None:
            neighbours.add_to(scores_BN.numpy(), histories)
        scores_BN[:, is_inactive] = -torch.inf
        for scores_N, excluded in zip(scores_BN, cases.excluded[start : start + batch_size], strict=True):
            scores_N.numpy()[unpack_items(excluded)] = -np.inf
        best = scores_BN.topk(min(num_candidates, num_items), dim=1)
        items.append(best.indices.numpy())
        scores.append(best.values)
    item = np.concatenate(items)
    is_relevant = [np.isin(row, relevant) for row, relevant in zip(item, cases.relevant, strict=True)]
    return Shortlists(cases=cases, item=item, score=torch.cat(scores), is_relevant=torch.from_numpy(np.stack(is_relevant)))


def fit_ranker_blend(
    ranker: Ranker, vectors: Float32[Floats, "items dim"], lists: Shortlists, features: FeatureSet, max_length: int
) -> tuple[list[float], float, float]:
    """Fit the tasks' weights in the score retrieval + weights · logits; the weights, and NDCG@10 without and with the ranker.

    Relative weights minimise a convex cross-entropy; their scale is chosen from SHARES by NDCG@10, and is 0 if that is best.
    """
    logits_MCK = _task_logits(ranker, vectors, lists, features, max_length)
    scores_MCP = torch.cat([lists.score.nan_to_num(neginf=0.0)[:, :, None], logits_MCK], dim=2)
    ndcg_without = _ndcg(lists, lists.score)
    relevant_cases = torch.nonzero(lists.is_relevant.any(dim=1)).ravel()
    if len(relevant_cases) == 0:
        return [0.0] * logits_MCK.shape[2], ndcg_without, ndcg_without
    # The first relevant candidate of a case is swapped to index 0; other relevant candidates are no negatives of it.
    order_MC = torch.arange(lists.item.shape[1]).repeat(len(relevant_cases), 1)
    first_M = lists.is_relevant[relevant_cases].int().argmax(dim=1)
    order_MC[torch.arange(len(relevant_cases)), first_M], order_MC[:, 0] = 0, first_M
    is_excluded_MC = (lists.is_relevant | lists.score.isinf())[relevant_cases].gather(1, order_MC)
    is_excluded_MC[:, 0] = False
    retrieval_weight, *task_weights = fit_nonnegative_weights(scores_MCP[relevant_cases[:, None], order_MC], is_excluded_MC)
    relative_weights = torch.tensor([weight / retrieval_weight if retrieval_weight else 0.0 for weight in task_weights])
    ndcg_by_share = {share: _ndcg(lists, lists.score + share * (logits_MCK @ relative_weights)) for share in SHARES}
    best = max(ndcg_by_share, key=lambda share: ndcg_by_share[share])
    return (best * relative_weights).tolist(), ndcg_without, ndcg_by_share[best]


@torch.no_grad()
def _task_logits(ranker: Ranker, vectors: Floats, lists: Shortlists, features: FeatureSet, max_length: int) -> Tensor:
    """The ranker's logits [M, C, K], with count features as of each case's cutoff (point-in-time join)."""
    cases, table = lists.cases, torch.from_numpy(vectors)
    users = [features.interactions.users[user] for user in cases.user]
    items = [features.items.ids[item] for item in lists.item.ravel()]
    width = lists.item.shape[1]
    user_counts = historical_counts.counts(features.root, schema.USER_ACTIVITY_VIEW, users, cases.cutoff_us)
    item_counts = historical_counts.counts(features.root, schema.ITEM_STATS_VIEW, items, np.repeat(cases.cutoff_us, width))
    counts = ranker_inputs.pair_features(np.repeat(user_counts, width, axis=0), item_counts)
    counts_MCF = torch.from_numpy(counts).reshape(len(cases), width, -1)
    logits = []
    with Progress("weigh ranker", len(cases)) as progress:
        for start in range(0, len(cases), CASES_AT_ONCE):
            part = slice(start, start + CASES_AT_ONCE)
            history, mask = left_pad([unpack_items(history[-max_length:]) for history in cases.history[part]])
            logits.append(ranker(table[history], mask, table[torch.from_numpy(lists.item[part])], counts_MCF[part]))
            progress.advance(len(history))
    return torch.cat(logits)


def _ndcg(lists: Shortlists, score_MC: Tensor) -> float:
    """Mean NDCG@10 of candidates sorted by score; relevant items that are no candidates count as missed."""
    top_MK = lists.is_relevant.gather(1, score_MC.argsort(dim=1, descending=True, stable=True)[:, :CUTOFF])
    case_R, rank_R = np.nonzero(top_MK.numpy())
    return float(ndcg(rank_R, case_R, np.array([len(relevant) for relevant in lists.cases.relevant])).mean())
