"""Grid search over the hyperparameters of closed-form families, by NDCG@10 on the validation set."""

import numpy as np
import torch

from lodestar.bundle.neighbours import NeighbourTable
from lodestar.config import Recipe
from lodestar.data.split.splits import EvalCases, Split
from lodestar.models.closed_form.closed_form_retrievers import FAMILIES, Hyperparameters, Retriever, RetrieverFactory
from lodestar.models.closed_form.counts import TrainingData
from lodestar.models.closed_form.popularity import RECENCY_GRID
from lodestar.progress import Progress, log_event
from lodestar.training.loop.batches import left_pad
from lodestar.training.loop.validation import SCORES_AT_ONCE, SUMS, Quality, Targets, means, quality_sums


def grid_search(name: str, split: Split, num_items: int, rank: int, recipe: Recipe) -> tuple[RetrieverFactory, Hyperparameters, Quality]:
    """Grid search of a family: its factory fitted on the training part, the best hyperparameters, and their validation quality.

    Without validation cases, the first hyperparameters of the grid and a quality of zeros.
    """
    fit, grid = FAMILIES[name][0], _grid(name, split.validation)
    data = TrainingData(
        sequences=split.train, times_us=split.times_us, num_items=num_items, device=recipe.train.device, weights=split.weights
    )
    make, best = fit(data, rank, recipe.train.seed), (grid[0], Quality(hit_rate=0.0, ndcg=0.0, accuracy=0.0))
    with Progress(f"tune {name}", len(grid)) as progress:
        for hyperparameters in grid if len(split.validation) else ():
            quality = evaluate_retriever(
                retriever := make(hyperparameters), split.validation, recipe.model.max_length, retriever.neighbours
            )
            log_event("tuned", family=name, **hyperparameters, ndcg_at_10=round(quality.ndcg, 5))
            best = max(best, (hyperparameters, quality), key=lambda candidate: candidate[1].ndcg)
            progress.advance()
    return make, *best


def _grid(name: str, cases: EvalCases) -> tuple[Hyperparameters, ...]:
    """The family's grid; without recency windows unless all cases share one cutoff (time split), as only those show current popularity."""
    grid = FAMILIES[name][1]
    return (
        grid
        if len(np.unique(cases.cutoff_us)) == 1
        else tuple(hyperparameters for hyperparameters in grid if hyperparameters not in RECENCY_GRID)
    )


@torch.no_grad()
def evaluate_retriever(model: Retriever, cases: EvalCases, max_length: int, neighbours: NeighbourTable | None = None) -> Quality:
    """HR@10, NDCG@10 and accuracy of a retriever over all cases, with the scores of `neighbours` added if given."""
    table = torch.from_numpy(model.vectors)
    total, rows = torch.zeros(SUMS, dtype=torch.float64), max(1, SCORES_AT_ONCE // (len(table) + max_length * table.shape[1]))
    order = np.argsort([len(history) for history in cases.history], kind="stable")
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        history, mask = left_pad([cases.history[case][-max_length:] for case in chosen])
        scores_BN = model.encoder(table[history] * mask[:, :, None], mask) @ table.T
        if neighbours is not None:
            neighbours.add_to(scores_BN.numpy(), [cases.history[case] for case in chosen])
        total += quality_sums(scores_BN, Targets.of(cases, chosen))
    return means(total, cases)
