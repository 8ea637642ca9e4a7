"""How well frozen recipes rank, by `lodestar run` as anyone types it: sets x recipes x seeds, beside the baselines of the same runs.

    python benchmarks/quality.py DATA/movielens-100k DATA/amazon-beauty --recipe sasrec --seeds 0 1 2 [--comparable] [--overrides JSON]

A set is a folder that `lodestar run --data` takes; or one that `lodestar features build` wrote, of which a model is trained and evaluated
without baselines, by torch, numpy, scipy and onnxruntime alone, as on a GPU machine that has nothing else. The last item of each user is
the test, the one before it the validation item, all items are ranked, seen ones left out, ties count against us. By default the last
training learns from the validation items as well; with --comparable it does not, which is what most published figures did. Figures are
those of the bundle before it is compressed. A GPU is used where there is one. Every run is kept in benchmarks/results/, with its command,
versions, device, time and memory, so that the table can be made again: runs that are there are not repeated.

Without a set, two epochs are trained on the features of a small simulated shop, and nothing is kept.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
import argparse
import json
import platform
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.measuring import sample
from lodestar.bundle import bundle as bundles
from lodestar.data.split.splits import EvalCases
from lodestar.engine.recommender import Recommender
from lodestar.evaluation.intervals import intervals
from lodestar.evaluation.metric_titles import MODEL, UNCOMPRESSED
from lodestar.evaluation.metrics import Reorder, per_case, rank_by
from lodestar.features.batch import feature_set
from lodestar.progress import Progress
from lodestar.recipes import load_recipe

RESULTS = Path(__file__).with_name("results")
METRICS = ("hr_at_10", "ndcg_at_10")
PLAIN = ("popularity", "item_knn", "ease", "cooccurrence")


def overridden(given: dict[str, Any], seed: int, *, is_comparable: bool) -> dict[str, Any]:
    """Overrides of one run: those given, its seed, and without refit where runs are to be comparable."""
    train = {**given.get("train", {}), "seed": seed, **({"refit": False} if is_comparable else {})}
    return {**given, "train": train}


def run(data: Path, recipe: str, overrides: dict[str, Any], work: Path) -> dict[str, Any]:
    """One run; what is the same for all seeds comes from the cache of `work`."""
    lodestar = Path(sys.executable).with_name("lodestar")
    command = ["run", "--data", str(data), "--recipe", recipe, "--overrides", json.dumps(overrides), "--json", "--output", str(work)]
    started = time.monotonic()
    done = subprocess.run([lodestar, *command], capture_output=True, text=True, check=False)
    if done.returncode not in {0, 4}:  # 4: a baseline is better, and the figures say so
        sys.exit(done.stderr[-3000:])
    found = json.loads(done.stdout)
    found["metrics"][MODEL] = found["metrics"].pop(UNCOMPRESSED, found["metrics"][MODEL])
    return {
        **described(data, recipe, overrides, "lodestar run --data … --recipe "),
        "passes": found["verdict"]["passes"],
        "metrics": {name: {key: value[key] for key in METRICS} for name, value in found["metrics"].items()},
        "seconds": round(time.monotonic() - started, 1),
        "cost": found["cost"],
    }


def trained(features: Path, recipe: str, overrides: dict[str, Any], work: Path) -> dict[str, Any]:
    """The same figures from features: what `lodestar run` trains, exported, loaded and asked for a ranking."""
    bundle, chosen = work / "bundle", load_recipe(recipe, json.dumps(overrides))
    options = ["--features", features, "--output", bundle, "--checkpoints", work / "checkpoints", "--recipe", recipe]
    command = [sys.executable, "-m", "lodestar.training", *map(str, options), "--overrides", json.dumps(overrides)]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    seconds = time.monotonic() - started
    found = feature_set.load(features)
    cases = found.split(chosen.data).test
    with Progress("evaluate", len(cases)) as progress:
        model = Recommender(bundles.load(bundle))
        ranking = rank_by(model, cases, 10, progress, reordered(model, found, cases))
    values = per_case(ranking, [10])
    metrics = intervals({name: values[name] for name in METRICS}, chosen.evaluation.bootstrap_samples, chosen.evaluation.seed)
    return {
        **described(features, recipe, overrides, "python -m lodestar.training --features … --recipe "),
        "metrics": {"model": {name: asdict(interval) for name, interval in metrics.items()}},
        "seconds": round(seconds, 1),
        "cost": json.loads((bundle / bundles.COST).read_text()),
    }


def reordered(model: Recommender, found: feature_set.FeatureSet, cases: EvalCases) -> Reorder | None:
    """By the bundle's ranker where it has one, which needs published features and what reads them."""
    if model.reranker is None:
        return None
    from lodestar.evaluation.rerank_cases import reordering

    return reordering(model, found, cases)


def described(data: Path, recipe: str, overrides: dict[str, Any], command: str) -> dict[str, Any]:
    """What a result says of its origin: data set, recipe, overrides, command, device and torch's version."""
    return {
        "set": data.name,
        "recipe": recipe,
        "overrides": overrides,
        "command": command + recipe + " --overrides '" + json.dumps(overrides) + "'",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
    }


def kept(result: Path, data: Path, recipe: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The run of that file, or one that is made now and written there where it has none with these overrides."""
    before = json.loads(result.read_text()) if result.exists() else {}
    if before.get("overrides") != overrides:
        with tempfile.TemporaryDirectory() as work:
            found = (trained if (data / feature_set.SEQUENCE_FILE).is_file() else run)(data, recipe, overrides, Path(work))
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    return dict(json.loads(result.read_text()))


def shown(name: str, runs: list[dict[str, Any]], model: str) -> str:
    """Means over seeds, the interval over users of the first seed's NDCG@10."""
    hits, gain = (mean(run["metrics"][model][metric]["value"] for run in runs) for metric in METRICS)
    first = runs[0]["metrics"][model]["ndcg_at_10"]
    seconds = mean(run["seconds"] for run in runs) if model == "model" else 0.0
    return f"  {name:14} HR@10 {hits:.4f}  NDCG@10 {gain:.4f} [{first['low']:.4f}, {first['high']:.4f}]" + (
        f"  {len(runs)} seeds, {seconds:.0f} s each on {runs[0]['device']}" if seconds else ""
    )


def main(arguments: list[str] | None = None) -> int:
    """Train and evaluate each recipe for each seed on each data set, unless its result is kept as JSON; print metrics; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="*", help="folders (default: the features of a small simulated shop)")
    parser.add_argument("--recipe", nargs="+", default=["sasrec"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--overrides", default="{}", metavar="JSON")
    parser.add_argument("--comparable", action="store_true", help="no training on the validation items")
    options = parser.parse_args(arguments)
    if options.sets:
        compare(options, json.loads(options.overrides), RESULTS)
        return 0
    with sample.features(None) as features, tempfile.TemporaryDirectory() as results:
        options.sets = [features]
        compare(options, {"train": {"epochs": 2}, **json.loads(options.overrides)}, Path(results))
    return 0


def compare(options: argparse.Namespace, given: dict[str, Any], results: Path) -> None:
    """Train and evaluate, or read from `results`, each recipe and seed on each data set, and print the metrics."""
    for data in options.sets:
        print(data.name)
        for place, recipe in enumerate(options.recipe):
            runs = []
            for seed in options.seeds:
                overrides = overridden(given, seed, is_comparable=options.comparable)
                tag = "-".join([recipe, *(["comparable"] if options.comparable else []), *(["changed"] if given else []), str(seed)])
                runs.append(kept(results / data.name / f"{tag}.json", data, recipe, overrides))
            if place == 0:
                print(*(shown(name, runs[:1], name) for name in PLAIN if name in runs[0]["metrics"]), sep="\n")
            print(shown(recipe, runs, "model"), flush=True)


if __name__ == "__main__":
    sys.exit(main())
