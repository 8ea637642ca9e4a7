"""Items without interactions, ranked by their text: `two_tower` beside popularity by category, on any features.

A tenth of the items lose all their events before training. Each user who interacts with one of them later is a query of that time: the
items before it are the history, the cold items alone are ranked. Popularity by category ranks a cold item by how much of the history is
of its category, equal ones at random.

    python benchmarks/cold_items.py [FEATURES] [--recipe two_tower] [--seeds 0 1 2] [--epochs N]

FEATURES is what `lodestar features build` wrote; without it, those of a small simulated shop are built first.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has
import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import sample
from lodestar.data.split.interactions import Interactions
from lodestar.features.batch import feature_set
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.metrics.ndcg import CUTOFF, ndcg
from lodestar.recipes import load_recipe
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.batches import left_pad
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.stages import SEARCH, Training

SHARE = 0.1
Rows = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A history without cold items, and the cold item that came after it."""

    history: Rows
    wanted: int


def split(found: FeatureSet, cold: Rows) -> tuple[FeatureSet, list[Question]]:
    """The training interactions, and each user's last step from known items to a cold one."""
    interactions, is_cold = found.interactions, np.zeros(len(found.items), dtype=bool)
    is_cold[cold] = True
    questions = []
    for history in interactions.histories():
        at = np.flatnonzero(is_cold[history])
        known = history[: at[-1]][~is_cold[history[: at[-1]]]] if len(at) else history[:0]
        if len(known):
            questions.append(Question(history=known, wanted=int(history[at[-1]])))
    kept = ~is_cold[interactions.item]
    users, user = np.unique(interactions.user[kept], return_inverse=True)
    warm = Interactions(
        users=[interactions.users[row] for row in users],
        items=interactions.items,
        user=user.astype(np.int32),
        item=interactions.item[kept],
        time=interactions.time[kept],
    )
    return replace(found, interactions=warm), questions


def hit_rate_and_ndcg(scores_QC: NDArray[np.float64], cold: Rows, questions: list[Question]) -> tuple[float, float]:
    """HR@10 and NDCG@10 among the cold items, ties against us."""
    own = np.searchsorted(cold, [question.wanted for question in questions])
    rank = (scores_QC >= scores_QC[np.arange(len(own)), own][:, None]).sum(axis=1) - 1
    return float((rank < CUTOFF).mean()), float(ndcg(rank, np.arange(len(rank)), np.ones_like(rank)).mean())


def by_category(found: FeatureSet, cold: Rows, questions: list[Question], rng: np.random.Generator) -> NDArray[np.float64]:
    """Baseline scores float64 [questions, cold]: history items of the cold item's category, ties broken at random."""
    _, category = np.unique(found.items.categories, return_inverse=True)
    counts = np.stack([np.bincount(category[question.history], minlength=category.max() + 1) for question in questions])
    return counts[:, category[cold]] + 1e-6 * rng.random((len(questions), len(cold)))


def by_words(found: FeatureSet, cold: Rows, questions: list[Question], recipe: str, train: dict[str, int]) -> NDArray[np.float64]:
    """Scores float64 [questions, cold] of a recipe trained on the warm features: item text is all it knows of the cold items."""
    chosen, scores = load_recipe(recipe, json.dumps({"train": train})), []
    longest, trained = chosen.model.max_length, Training(found, chosen, Group(), lambda _: None).run(TrainingState(stage=SEARCH))
    with torch.no_grad():
        for start in range(0, len(questions), 256):
            history, mask = left_pad([question.history[-longest:] for question in questions[start : start + 256]])
            scores.append(trained.model.eval().scores(history, mask)[:, torch.from_numpy(cold.astype(np.int64))].double().numpy())
    return np.concatenate(scores)


def main(arguments: list[str] | None = None) -> int:
    """Compare on the named features, or on a simulated shop without any; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?", help="a folder of features (default: those of a small simulated shop)")
    parser.add_argument("--recipe", default="two_tower")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="at most so many (default: the recipe's)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with sample.features(options.features) as folder:
        compare(feature_set.load(folder), options)
    return 0


def compare(found: FeatureSet, options: argparse.Namespace) -> None:
    """Print HR@10 and NDCG@10 of both ways over the cold items alone, for each seed."""
    for seed in options.seeds:
        train = {"seed": seed} | ({"epochs": options.epochs} if options.epochs else {})
        rng = np.random.default_rng(seed)
        cold = np.sort(rng.choice(len(found.items), int(SHARE * len(found.items)), replace=False)).astype(np.int32)
        warm, questions = split(found, cold)
        print(f"seed {seed}: {len(questions):,} users, {len(cold):,} cold items, random {CUTOFF / len(cold):.3f}")
        for name, scores in {
            "popularity by category": by_category(found, cold, questions, rng),
            options.recipe: by_words(warm, cold, questions, options.recipe, train),
        }.items():
            hits, gain = hit_rate_and_ndcg(scores, cold, questions)
            print(f"  {name:24} HR@10 {hits:.4f}  NDCG@10 {gain:.4f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
