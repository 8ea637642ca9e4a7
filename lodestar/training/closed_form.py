"""Training without a loop: what a family may be set to is tried on the validation items, and the best is fitted on all before the test."""

from pathlib import Path

import numpy as np
import torch

from lodestar.config import Recipe
from lodestar.data.splits import Cases
from lodestar.features.store import FeatureSet
from lodestar.models.retriever import FAMILIES, Retriever
from lodestar.progress import Progress, log_event
from lodestar.training import publish
from lodestar.training.batches import padded
from lodestar.training.validation import SCORES_AT_ONCE, SUMS, Quality, means, quality_sums


def write(folder: Path, found: FeatureSet, recipe: Recipe) -> None:
    """Fill a bundle's folder with a family that needs no loop."""
    fit, settings = FAMILIES[recipe.model.family]
    split, num_items, shape = found.split(recipe.data), len(found.items), (recipe.model.dim, recipe.train.seed)
    with Progress(f"fit {recipe.model.family}", len(settings) + 1) as progress:
        make, best = fit(split.train, num_items, *shape), (settings[0], Quality(hit_rate=0.0, ndcg=0.0, accuracy=0.0))
        for setting in settings if len(split.validation) else ():
            quality = judged(make(setting), split.validation, recipe.model.max_length)
            log_event("tuned", family=recipe.model.family, **setting, ndcg_at_10=round(quality.ndcg, 5))
            best = max(best, (setting, quality), key=lambda tried: tried[1].ndcg)
            progress.advance()
        model = fit(split.before_test(), num_items, *shape)(best[0])
        progress.advance()
    publish.write(folder, found, recipe, model.vectors, model.encoder, {"validation_ndcg_at_10": best[1].ndcg, **best[0]})


@torch.no_grad()
def judged(model: Retriever, cases: Cases, max_length: int) -> Quality:
    """HR@10, NDCG@10 and accuracy over all cases."""
    table = torch.from_numpy(model.vectors)
    total, rows = torch.zeros(SUMS, dtype=torch.float64), max(1, SCORES_AT_ONCE // (len(table) + max_length * table.shape[1]))
    order = np.argsort([len(history) for history in cases.history], kind="stable")
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        history, mask = padded([cases.history[case][-max_length:] for case in chosen])
        users = model.encoder(table[history] * mask[:, :, None], mask)
        total += quality_sums(users @ table.T, cases, chosen)
    return means(total, cases)
