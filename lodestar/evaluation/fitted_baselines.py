"""Baselines of an evaluation: each is fitted on what the model was; EASE's regularisation is tuned on the validation set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lodestar.config import Device
from lodestar.data.split.splits import EvalCases, Split
from lodestar.evaluation.metrics import Ranking, Score, ndcg, rank, rank_shared
from lodestar.metrics.ndcg import CUTOFF
from lodestar.models.closed_form import ease, memory
from lodestar.models.closed_form.baselines import BASELINES
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.closed_form.ease import EASE
from lodestar.models.closed_form.popularity import Popularity
from lodestar.progress import Progress, log_event
from lodestar.schema.arrays import Float32, Floats

EASE_NAME = "ease"


@dataclass(frozen=True, kw_only=True)
class FittedBaseline:
    """A fitted baseline; `hyperparameters` describes its tuned values and any truncation to a large catalogue, or is empty."""

    score: Score
    shared: Float32[Floats, " items"] | None = None  # [items]: scores that are the same for every user, as of popularity
    hyperparameters: str = ""

    def rank(self, cases: EvalCases, num_items: int, length: int, progress: Progress) -> Ranking:
        """Full ranking of the cases with the `length` best items of each."""
        if self.shared is not None:
            return rank_shared(self.shared, cases, length, progress)
        return rank(self.score, cases, num_items, length, progress)


def skipped_baselines(num_items: int) -> dict[str, str]:
    """Baselines that are skipped because the catalogue is too large, by name, with the reason; independent of the machine.

    Raises EnvironmentFault E185 if a baseline applies but its memory is not free, so that no verdict depends on free memory.
    """
    if num_items > ease.MAX_CATALOGUE_SIZE:
        return {
            EASE_NAME: f"skipped: it stores a number per pair of items, and {num_items:,} items are more than {ease.MAX_CATALOGUE_SIZE:,}"
        }
    remedy = f"Evaluate with more memory; up to {ease.MAX_CATALOGUE_SIZE:,} items the gate needs EASE as a baseline."
    memory.require(ease.bytes_needed(num_items), f"the baseline EASE of {num_items:,} items", remedy)
    return {}


def num_tuning_cases(split: Split, names: Sequence[str]) -> int:
    """Number of cases that the grid search of the baselines ranks: validation users times EASE's regularisations."""
    return len(split.validation) * len(ease.REGULARISATIONS) if EASE_NAME in names else 0


def fit_baseline(  # what it is fitted on, and how
    name: str, split: Split, known: Sequences, num_items: int, progress: Progress, device: Device
) -> FittedBaseline:
    """Fit a baseline of `BASELINES` on the interactions `known`, of the training set or before the test; EASE is tuned on validation."""
    if name == EASE_NAME:
        chosen, solved = "", f"solved on {ease.solver(device, num_items).type}"
        tuned = EASE(device=device)
        if len(split.validation):
            tuned.regularisation = _tune_regularisation(split, num_items, progress, device)
            chosen = f"regularisation {tuned.regularisation:g}, chosen on the validation set; "
        return FittedBaseline(score=tuned.fit(known, num_items, split.weights).score, hyperparameters=chosen + solved)
    model = BASELINES[name]().fit(known, num_items, split.weights)
    shared = model.counts if isinstance(model, Popularity) else None
    return FittedBaseline(score=model.score, shared=shared, hyperparameters=getattr(model, "kept", ""))


def _tune_regularisation(split: Split, num_items: int, progress: Progress, device: Device) -> float:
    """EASE's regularisation with the highest NDCG@10 on the validation set."""
    quality = {}
    for regularisation in ease.REGULARISATIONS:
        model = EASE(regularisation=regularisation, device=device).fit(split.train, num_items, split.weights)
        ranking = rank(model.score, split.validation, num_items, CUTOFF, progress)
        quality[regularisation] = float(np.mean(ndcg(ranking, CUTOFF)))
        log_event("tuned", model=EASE_NAME, regularisation=regularisation, ndcg_at_10=round(quality[regularisation], 5))
    return max(quality, key=lambda regularisation: quality[regularisation])
