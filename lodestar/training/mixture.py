"""Weights of a blend, learnt on the validation items: the softmax of the weighted scores is to favour what was taken.

Each part is tuned by itself, and its scores are told in their own spread, so that weights can be compared. With few weights and a convex
loss there is one best answer, and every run finds it. Letters in shapes: C cases, A candidates of a case (the taken one first), P parts.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lodestar.data.splits import Cases, Split
from lodestar.models.blended import blended
from lodestar.models.retriever import FAMILIES, Retriever, Setting
from lodestar.progress import Progress, log_event
from lodestar.training.batches import padded
from lodestar.training.settings import judged, tuned
from lodestar.training.validation import Quality

PARTS = ("popularity", "item_knn", "ease", "graph_filter", "ials", "cooccurrence")
MOST_CASES, CANDIDATES = 20_000, 1_000
DIRECTIONS_OF_ONE = 8
STEPS, SMALLEST = 50, 0.01  # a part that adds less than this share is left out


def mixed(split: Split, num_items: int, rank: int, seed: int, max_length: int) -> tuple[Retriever, Setting, Quality]:
    """The blend, knowing all before the test; its weights and the parts' settings; and its quality on the validation items."""
    parts, settings = list[Retriever](), list[Setting]()
    for name in PARTS:
        make, setting, _ = tuned(name, split, num_items, _rank(name, rank), seed, max_length)
        parts.append(make(setting))
        settings.append(setting)
    weights = learnt(parts, split.validation, max_length, seed) if len(split.validation) else [1.0] * len(PARTS)
    quality = judged(blended(parts, weights), split.validation, max_length)
    log_event("blended", **{name: round(weight, 5) for name, weight in zip(PARTS, weights, strict=True)}, ndcg_at_10=round(quality.ndcg, 5))
    known, final = split.before_test(), list[Retriever]()
    with Progress("fit blend", len(PARTS)) as progress:
        for name, setting in zip(PARTS, settings, strict=True):
            final.append(FAMILIES[name][0](known, num_items, _rank(name, rank), seed)(setting))
            progress.advance()
    named = {f"weight_of_{name}": weight for name, weight in zip(PARTS, weights, strict=True)}
    for name, setting in zip(PARTS, settings, strict=True):
        named |= {f"{name}_{key}": value for key, value in setting.items()}
    return blended(final, weights), named, quality


def _rank(name: str, rank: int) -> int:
    """Vectors that are learnt are dense in what they know, directions of counts are not."""
    return rank if name == "ials" else DIRECTIONS_OF_ONE * rank


def learnt(parts: Sequence[Retriever], cases: Cases, max_length: int, seed: int) -> list[float]:
    """A weight of at least 0 for each part, for its scores as they are."""
    chance = np.random.default_rng(seed)
    asked = np.sort(chance.permutation(len(cases))[:MOST_CASES])
    chosen = [np.concatenate([cases.relevant[case][:1], _unseen(cases, case, len(parts[0].vectors), chance)]) for case in asked]
    scores_CAP = torch.stack([_scores(part, cases, asked, chosen, max_length) for part in parts], dim=2).double()
    spread_P = scores_CAP.std(dim=(0, 1)).clamp_min(1e-12)
    scores_CAP = scores_CAP / spread_P
    raw_P = torch.zeros(len(parts), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([raw_P], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        logits_CA = scores_CAP @ functional.softplus(raw_P)
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
def _scores(part: Retriever, cases: Cases, asked: np.ndarray, chosen: list[np.ndarray], max_length: int) -> Tensor:
    """[C, A]; a few histories at once, for a part may have rows of thousands of numbers."""
    table, found, at_once = torch.from_numpy(part.vectors), [], 64
    for start in range(0, len(asked), at_once):
        rows = slice(start, start + at_once)
        history, mask = padded([cases.history[case][-max_length:] for case in asked[rows]])
        users_BD = part.encoder(table[history] * mask[:, :, None], mask)
        items_BA = torch.from_numpy(np.stack(chosen[rows]))
        found.append((users_BD @ table.T).gather(1, items_BA))
    return torch.cat(found)
