"""Who is judged beside the model: every baseline, fitted on all that is known before the test, and tuned where it has a knob."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lodestar import memory
from lodestar.config import Device
from lodestar.data.splits import Cases, Split
from lodestar.evaluation.metrics import Ranking, Score, ndcg, rank, rank_shared
from lodestar.models import ease
from lodestar.models.baselines import BASELINES
from lodestar.models.counts import Floats
from lodestar.models.ease import EASE
from lodestar.models.popularity import Popularity
from lodestar.progress import Progress, log_event

EASE_NAME = "ease"
CUTOFF = 10


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A fitted baseline; `setting` says what was chosen on the validation items or kept of a large catalogue, empty where nothing was."""

    score: Score
    shared: Floats | None = None  # the scores of everyone, [items], where they are the same
    setting: str = ""

    def rank(self, cases: Cases, num_items: int, length: int, progress: Progress) -> Ranking:
        if self.shared is not None:
            return rank_shared(self.shared, cases, length, progress)
        return rank(self.score, cases, num_items, length, progress)


def skipped(num_items: int) -> dict[str, str]:
    """The baselines that this catalogue is too large for, with the reason: the same on any machine.

    EnvironmentFault E185 where one is not too large and its memory is not free: no verdict depends on what was free at a moment.
    """
    if num_items > ease.LARGEST_CATALOGUE:
        return {
            EASE_NAME: f"left out: it holds a number per pair of items, and {num_items:,} items are more than {ease.LARGEST_CATALOGUE:,}"
        }
    remedy = f"Judge with more memory; up to {ease.LARGEST_CATALOGUE:,} items no model goes out unless EASE was judged beside it."
    memory.require(ease.bytes_needed(num_items), f"the baseline EASE of {num_items:,} items", remedy)
    return {}


def work(split: Split, names: Sequence[str]) -> int:
    """How many cases are ranked to tune the baselines."""
    return len(split.validation) * len(ease.REGULARISATIONS) if EASE_NAME in names else 0


def fitted(name: str, split: Split, num_items: int, progress: Progress, device: Device) -> Contestant:
    """The baseline of that name, knowing what came before the test."""
    if name == EASE_NAME:
        chosen, solved = "", f"solved on {ease.solver(device, num_items).type}"
        tuned = EASE(device=device)
        if len(split.validation):
            tuned.regularisation = _tuned(split, num_items, progress, device)
            chosen = f"regularisation {tuned.regularisation:g}, chosen on the validation items; "
        return Contestant(score=tuned.fit(split.before_test, num_items).score, setting=chosen + solved)
    model = BASELINES[name]().fit(split.before_test, num_items)
    shared = model.counts if isinstance(model, Popularity) else None
    return Contestant(score=model.score, shared=shared, setting=getattr(model, "kept", ""))


def _tuned(split: Split, num_items: int, progress: Progress, device: Device) -> float:
    """The regularisation whose NDCG@10 on the validation items is highest."""
    quality = {}
    for regularisation in ease.REGULARISATIONS:
        model = EASE(regularisation=regularisation, device=device).fit(split.train, num_items)
        ranking = rank(model.score, split.validation, num_items, CUTOFF, progress)
        quality[regularisation] = float(np.mean(ndcg(ranking, CUTOFF)))
        log_event("tuned", model=EASE_NAME, regularisation=regularisation, ndcg_at_10=round(quality[regularisation], 5))
    return max(quality, key=lambda regularisation: quality[regularisation])
