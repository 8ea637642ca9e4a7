"""How well models of sets find what is held out at random: a tenth of all interactions, Recall@20 and NDCG@20 over users.

    python benchmarks/holdout.py [FEATURES] [--models NAME …] [--neighbours K …]

FEATURES is what `lodestar features build` wrote; without it, those of a small simulated shop are built first.
Order and time play no part. The graph filter (GF-CF, with its authors' 256 frequencies
and a weight of 0.3) is the peer. Of `dan_ease` the whole map is asked, and then what is served of it: K neighbours of each item.
The map of 40,000 items takes 14 GB and a quarter of an hour of a core, or seconds of a GPU.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import sample
from lodestar.data.split.splits import EvalCases
from lodestar.evaluation.intervals import intervals
from lodestar.evaluation.metrics import Score, per_case, rank
from lodestar.features.batch import feature_set
from lodestar.models.closed_form.counts import Sequences
from lodestar.models.closed_form.dan_ease import NormalisedEASE
from lodestar.models.closed_form.gf_cf import GFCF
from lodestar.models.closed_form.ials import IALS
from lodestar.models.closed_form.popularity import Popularity
from lodestar.progress import Progress
from lodestar.schema.arrays import Floats

HELD, CUTOFF, SAMPLES = 0.1, 20, 1000
METRICS, TITLES = (f"recall_at_{CUTOFF}", f"ndcg_at_{CUTOFF}"), (f"Recall@{CUTOFF}", f"NDCG@{CUTOFF}")
SERVED = (128, 256, 512)


def split(histories: Sequences, seed: int) -> tuple[Sequences, EvalCases]:
    """What is known of each user, and what is to be found of those of whom both is there."""
    rng = np.random.default_rng(seed)
    held = [rng.random(len(items)) < HELD for items in histories]
    known = [items[~is_held] for items, is_held in zip(histories, held, strict=True)]
    asked = [user for user, is_held in enumerate(held) if is_held.any() and not is_held.all()]
    relevant = [histories[user][held[user]] for user in asked]
    return known, EvalCases(user=np.array(asked, dtype=np.int32), history=[known[user] for user in asked], relevant=relevant)


def models(chosen: list[str], kept: list[int], known: Sequences, num_items: int) -> Iterator[tuple[str, Score]]:
    """A name and what scores histories, one after the other."""
    made: dict[str, Callable[[], Score]] = {
        "popularity": lambda: Popularity().fit(known, num_items).score,
        "gf_cf": lambda: GFCF(frequencies=256, ideal_weight=0.3).fit(known, num_items).score,
        "ials": lambda: IALS(dim=128).fit(known, num_items).score,
    }
    for name in chosen:
        if name in made:
            yield name, made[name]()
            continue
        model = NormalisedEASE().fit(known, num_items)
        yield name, model.score
        for most in kept:
            neighbours = model.neighbours(most)

            def served(histories: Sequences, neighbours=neighbours) -> Floats:  # type: ignore[no-untyped-def]
                scores = np.zeros((len(histories), num_items), dtype=np.float32)
                neighbours.add_to(scores, histories)
                return scores

            yield f"{name}, {most} kept", served


def main(arguments: list[str] | None = None) -> int:
    """Print each closed-form model's metrics on the held-out interactions, with bootstrap intervals over users; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?", help="a folder of features (default: those of a small simulated shop)")
    parser.add_argument("--models", nargs="+", default=["popularity", "gf_cf", "dan_ease"], metavar="NAME")
    parser.add_argument("--neighbours", type=int, nargs="+", default=list(SERVED), metavar="K")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with sample.features(options.features) as folder:
        compare(folder, options)
    return 0


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Print each model's metrics on the held-out interactions of one folder of features."""
    found = feature_set.load(folder)
    known, cases = split(found.interactions.histories(), options.seed)
    num_items, started = len(found.items), time.monotonic()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores"
    print(f"{folder.name}: {len(cases):,} users are asked, {num_items:,} items, seed {options.seed}, {device}")
    for name, score in models(options.models, options.neighbours, known, num_items):
        with Progress(name, len(cases)) as progress:
            values = per_case(rank(score, cases, num_items, CUTOFF, progress), [CUTOFF])
        found_by = intervals({metric: values[metric] for metric in METRICS}, SAMPLES, options.seed)
        shown = "  ".join(
            f"{title} {of.value:.4f} [{of.low:.4f}, {of.high:.4f}]" for title, of in zip(TITLES, found_by.values(), strict=True)
        )
        print(f"  {name:26}{shown}  after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
