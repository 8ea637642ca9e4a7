"""Who is judged beside the model: every baseline, fitted on all that is known before the test, and tuned where it has a knob."""

from dataclasses import dataclass

import numpy as np

from lodestar.data.splits import Split
from lodestar.evaluation.metrics import Score, ndcg, rank
from lodestar.models import ease
from lodestar.models.baselines import BASELINES
from lodestar.models.ease import EASE
from lodestar.progress import Progress, log_event

EASE_NAME = "ease"
CUTOFF = 10


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A fitted baseline; `setting` says what was chosen on the validation items, empty where nothing was."""

    score: Score
    setting: str = ""


def skipped(num_items: int) -> dict[str, str]:
    """The baselines that this catalogue is too large for, with the reason."""
    if num_items <= ease.LARGEST_CATALOGUE:
        return {}
    return {EASE_NAME: f"left out: it holds a number per pair of items, and {num_items:,} items are more than {ease.LARGEST_CATALOGUE:,}"}


def names(num_items: int) -> list[str]:
    return [name for name in BASELINES if name not in skipped(num_items)]


def work(split: Split, num_items: int) -> int:
    """How many cases are ranked to tune the baselines."""
    return len(split.validation) * len(ease.REGULARISATIONS) if EASE_NAME in names(num_items) else 0


def fitted(name: str, split: Split, num_items: int, progress: Progress) -> Contestant:
    """The baseline of that name, knowing what came before the test."""
    if name == EASE_NAME and len(split.validation):
        regularisation = _tuned(split, num_items, progress)
        model = EASE(regularisation=regularisation).fit(split.before_test, num_items)
        return Contestant(score=model.score, setting=f"regularisation {regularisation:g}, chosen on the validation items")
    return Contestant(score=BASELINES[name]().fit(split.before_test, num_items).score)


def _tuned(split: Split, num_items: int, progress: Progress) -> float:
    """The regularisation whose NDCG@10 on the validation items is highest."""
    quality = {}
    for regularisation in ease.REGULARISATIONS:
        model = EASE(regularisation=regularisation).fit(split.train, num_items)
        ranking = rank(model.score, split.validation, num_items, CUTOFF, progress)
        quality[regularisation] = float(np.mean(ndcg(ranking, CUTOFF)))
        log_event("tuned", model=EASE_NAME, regularisation=regularisation, ndcg_at_10=round(quality[regularisation], 5))
    return max(quality, key=lambda regularisation: quality[regularisation])
