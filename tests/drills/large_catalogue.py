"""Baselines, and validation of what is trained, among 100,000 items for 200,000 users: each ends, within a gigabyte above its data."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from lodestar.config import EvaluationConfig
from lodestar.data.split.ragged_array import RaggedArray
from lodestar.data.split.splits import EvalCases, affordable
from lodestar.evaluation.fitted_baselines import FittedBaseline
from lodestar.models.closed_form.baselines import BASELINES
from lodestar.models.closed_form.popularity import Popularity
from lodestar.progress import Progress

PER_USER, MOST_BYTES, MOST_RATIO, LITTLE_S = 50, 2_000_000_000, 4.0, 30
MODELS = ("popularity", "item_knn", "cooccurrence")


def drill(seed: int, cases: int) -> dict[str, object]:
    """`cases` thousand users of half as many items, and half of both beside them, to see how time and memory grow."""
    sizes = [(users, users // 2) for users in (500 * cases, 1000 * cases)]
    by_size = [_in_child(seed, *size) for size in sizes]
    for name in MODELS:
        small, whole = (found[name] for found in by_size)
        assert whole["most_bytes"] <= MOST_BYTES, (name, whole)
        # Twice the users and twice the items: four times as many pairs, and no more time than that.
        assert whole["cpu_seconds"] <= 2 * MOST_RATIO * small["cpu_seconds"] + LITTLE_S, (name, small, whole)
    return {
        "users": 1000 * cases,
        "items": 500 * cases,
        "interactions": 1000 * cases * PER_USER,
        "models": by_size[1],
        "models_of_half": by_size[0],
    }


def _in_child(seed: int, users: int, items: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, "-m", "tests.drills.large_catalogue", str(seed), str(users), str(items)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _data(seed: int, users: int, items: int) -> RaggedArray[np.int32]:
    """Interactions of which the first items have most, as 1/rank to the power 0.8, and neighbours in number follow one another."""
    rng = np.random.default_rng(seed)
    lengths = rng.geometric(1 / PER_USER, users).clip(2, 2_000)
    ends = np.cumsum(lengths)
    popular = (items * rng.random(int(ends[-1])) ** 5).astype(np.int64)
    near = rng.integers(0, items, users).repeat(lengths) + rng.integers(0, 64, int(ends[-1]))
    item = np.where(rng.random(int(ends[-1])) < 0.5, popular, near) % items
    return RaggedArray(values=item.astype(np.int32), start=ends - lengths, end=ends)


def _measured(seed: int, name: str, users: int, items: int) -> dict[str, float]:
    whole = _data(seed, users, items)
    cases = EvalCases(user=np.arange(users, dtype=np.int32), history=whole.head(whole.lengths - 1), relevant=whole.skip(whole.lengths - 1))
    cases = affordable(cases, items, EvaluationConfig(), "test")
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins again
    before, started = _most_bytes(), time.process_time()
    model = BASELINES[name]().fit(cases.history, items)
    fitted = time.process_time()
    baseline = FittedBaseline(score=model.score, shared=model.counts if isinstance(model, Popularity) else None)
    with Progress(name, len(cases)) as progress:
        ranking = baseline.rank(cases, items, 50, progress)
    ended = time.process_time()
    return {
        "users": users,
        "items": items,
        "cases": len(cases),
        "hit_rate_at_10": round(float((ranking.rank < 10).mean()), 4),
        "cpu_seconds_to_fit": round(fitted - started, 1),
        "cpu_seconds": round(ended - started, 1),
        "most_bytes": _most_bytes(),
        "bytes_before": before,
    }


def _most_bytes() -> int:
    """VmHWM: the most memory that the process has had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    arguments = tuple(map(int, sys.argv[1:]))
    sys.stdout.write(json.dumps({name: _measured(arguments[0], name, *arguments[1:]) for name in MODELS}) + "\n")
