"""How loud a ranker's answers speak beside retrieval: learnt on the validation cases, with the model that did not learn from them.

Letters in shapes: M cases, C candidates, K tasks, D numbers of an item, F counts.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lodestar import schema
from lodestar.data.gaps import items_of
from lodestar.data.splits import Cases
from lodestar.features import known
from lodestar.features.store import FeatureSet
from lodestar.models.next_item import NextItem
from lodestar.models.ranker import Ranker
from lodestar.neighbours import Neighbours
from lodestar.progress import Progress
from lodestar.schema import pairs
from lodestar.training.batches import padded
from lodestar.training.mixture import weighed
from lodestar.training.validation import CUTOFF, rows_at_once

MOST_CASES = 5_000
CASES_AT_ONCE = 64
SHARES = (0.0, 0.5, 1.0, 2.0)  # of the weights with the least loss; of equal ones the first is taken


@dataclass(frozen=True, kw_only=True)
class Shortlists:
    """The best candidates of some cases by retrieval, best first: `item` and `score` [M, C], and which of them were taken, [M, C]."""

    cases: Cases
    item: NDArray[np.int64]
    score: Tensor
    is_taken: Tensor


@torch.no_grad()
def shortlists(model: NextItem, neighbours: Neighbours | None, found: FeatureSet, cases: Cases, size: int, max_length: int) -> Shortlists:
    """Of MOST_CASES at most; what is seen or gone is no candidate, and stands with a score of -inf where there are too few."""
    model.eval()
    device, num_items = model.items.weight.device, len(found.items)
    chosen = np.sort(np.random.default_rng(0).permutation(len(cases))[:MOST_CASES])
    cases = Cases(
        user=cases.user[chosen],
        history=[cases.history[case] for case in chosen],
        relevant=[cases.relevant[case] for case in chosen],
        moment=cases.moment[chosen],
    )
    gone, items, scores = torch.from_numpy(~found.items.is_active), [], []
    for start in range(0, len(cases), at_once := rows_at_once(num_items, device)):
        histories = cases.history[start : start + at_once]
        history, mask = padded([history[-max_length:] for history in histories])
        scores_BN = model.scores(history.to(device), mask.to(device)).cpu()
        if neighbours is not None:
            neighbours.add_to(scores_BN.numpy(), histories)
        scores_BN[:, gone] = -torch.inf
        for scores_N, seen in zip(scores_BN, histories, strict=True):
            scores_N.numpy()[items_of(seen)] = -np.inf
        best = scores_BN.topk(min(size, num_items), dim=1)
        items.append(best.indices.numpy())
        scores.append(best.values)
    item = np.concatenate(items)
    is_taken = [np.isin(row, relevant) for row, relevant in zip(item, cases.relevant, strict=True)]
    return Shortlists(cases=cases, item=item, score=torch.cat(scores), is_taken=torch.from_numpy(np.stack(is_taken)))


def choose(
    ranker: Ranker, vectors: NDArray[np.float32], lists: Shortlists, found: FeatureSet, max_length: int
) -> tuple[list[float], float, float]:
    """What each task's answer adds to a score of retrieval, and NDCG@10 without and with it.

    A convex loss says how the answers stand to each other, NDCG@10 how loud they are: not at all where that is best.
    """
    answers_MCK = _answers(ranker, vectors, lists, found, max_length)
    parts_MCP = torch.cat([lists.score.nan_to_num(neginf=0.0)[:, :, None], answers_MCK], dim=2)
    before = _ndcg(lists, lists.score)
    asked = torch.nonzero(lists.is_taken.any(dim=1)).ravel()
    if len(asked) == 0:
        return [0.0] * answers_MCK.shape[2], before, before
    # The first taken candidate of a case changes places with the first of all; the others that were taken do not stand against it.
    order_MC = torch.arange(lists.item.shape[1]).repeat(len(asked), 1)
    first_M = lists.is_taken[asked].int().argmax(dim=1)
    order_MC[torch.arange(len(asked)), first_M], order_MC[:, 0] = 0, first_M
    is_shut_MC = (lists.is_taken | lists.score.isinf())[asked].gather(1, order_MC)
    is_shut_MC[:, 0] = False
    own, *others = weighed(parts_MCP[asked[:, None], order_MC], is_shut_MC)
    learnt = torch.tensor([other / own if own else 0.0 for other in others])
    tried = {share: _ndcg(lists, lists.score + share * (answers_MCK @ learnt)) for share in SHARES}
    best = max(tried, key=lambda share: tried[share])
    return (best * learnt).tolist(), before, tried[best]


@torch.no_grad()
def _answers(ranker: Ranker, vectors: NDArray[np.float32], lists: Shortlists, found: FeatureSet, max_length: int) -> Tensor:
    """[M, C, K], with the counts that were known at each case's moment."""
    cases, table = lists.cases, torch.from_numpy(vectors)
    users = [found.interactions.users[user] for user in cases.user]
    items = [found.items.ids[item] for item in lists.item.ravel()]
    width = lists.item.shape[1]
    of_user = known.counts(found.root, schema.USER_ACTIVITY_VIEW, users, cases.moment)
    of_item = known.counts(found.root, schema.ITEM_STATS_VIEW, items, np.repeat(cases.moment, width))
    counts_MCF = torch.from_numpy(pairs.numbers(np.repeat(of_user, width, axis=0), of_item)).reshape(len(cases), width, -1)
    answers = []
    with Progress("weigh ranker", len(cases)) as progress:
        for start in range(0, len(cases), CASES_AT_ONCE):
            part = slice(start, start + CASES_AT_ONCE)
            history, mask = padded([items_of(history[-max_length:]) for history in cases.history[part]])
            answers.append(ranker(table[history], mask, table[torch.from_numpy(lists.item[part])], counts_MCF[part]))
            progress.advance(len(history))
    return torch.cat(answers)


def _ndcg(lists: Shortlists, score_MC: Tensor) -> float:
    """The mean NDCG@10; what is no candidate is not found."""
    top_MK = lists.is_taken.gather(1, score_MC.argsort(dim=1, descending=True, stable=True)[:, :CUTOFF])
    discount_K = 1 / np.log2(np.arange(CUTOFF) + 2)
    most = np.cumsum(discount_K)[[min(len(relevant), CUTOFF) - 1 for relevant in lists.cases.relevant]]
    return float(((top_MK.numpy() * discount_K[: top_MK.shape[1]]).sum(axis=1) / most).mean())
