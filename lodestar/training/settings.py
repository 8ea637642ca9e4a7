"""What a family without a loop may be set to, tried on the validation items."""

import numpy as np
import torch

from lodestar.config import Recipe
from lodestar.data.splits import Cases, Split
from lodestar.models.counts import Known
from lodestar.models.retriever import FAMILIES, LATELY, Make, Retriever, Setting
from lodestar.neighbours import Neighbours
from lodestar.progress import Progress, log_event
from lodestar.training.batches import padded
from lodestar.training.validation import SCORES_AT_ONCE, SUMS, Answers, Quality, means, quality_sums


def tuned(name: str, split: Split, num_items: int, rank: int, recipe: Recipe) -> tuple[Make, Setting, Quality]:
    """A family fitted on the training part, its setting with the best NDCG@10 on the validation items, and what that gives."""
    fit, settings = FAMILIES[name][0], _tried(name, split.validation)
    known = Known(sequences=split.train, moments=split.moments, num_items=num_items, device=recipe.train.device)
    make, best = fit(known, rank, recipe.train.seed), (settings[0], Quality(hit_rate=0.0, ndcg=0.0, accuracy=0.0))
    with Progress(f"tune {name}", len(settings)) as progress:
        for setting in settings if len(split.validation) else ():
            quality = judged(made := make(setting), split.validation, recipe.model.max_length, made.neighbours)
            log_event("tuned", family=name, **setting, ndcg_at_10=round(quality.ndcg, 5))
            best = max(best, (setting, quality), key=lambda tried: tried[1].ndcg)
            progress.advance()
    return make, *best


def _tried(name: str, cases: Cases) -> tuple[Setting, ...]:
    """What is popular at the end of the training part is told by cases that follow it, and not where each user has a moment."""
    settings = FAMILIES[name][1]
    return settings if len(np.unique(cases.moment)) == 1 else tuple(setting for setting in settings if setting not in LATELY)


@torch.no_grad()
def judged(model: Retriever, cases: Cases, max_length: int, neighbours: Neighbours | None = None) -> Quality:
    """HR@10, NDCG@10 and accuracy over all cases; neighbours speak as well where there are any."""
    table = torch.from_numpy(model.vectors)
    total, rows = torch.zeros(SUMS, dtype=torch.float64), max(1, SCORES_AT_ONCE // (len(table) + max_length * table.shape[1]))
    order = np.argsort([len(history) for history in cases.history], kind="stable")
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        history, mask = padded([cases.history[case][-max_length:] for case in chosen])
        scores_BN = model.encoder(table[history] * mask[:, :, None], mask) @ table.T
        if neighbours is not None:
            neighbours.add_to(scores_BN.numpy(), [cases.history[case] for case in chosen])
        total += quality_sums(scores_BN, Answers.of(cases, chosen))
    return means(total, cases)
