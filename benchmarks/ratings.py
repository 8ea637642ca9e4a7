"""Rating prediction: RMSE on the five given folds of MovieLens-100K, beside biases and item neighbours.

    python benchmarks/ratings.py MOVIELENS-100K [--folds 1 2 3 4 5] [--seeds 0]

The folder holds u.data, u.user, u.item and u1.test … u5.test; the rest of u.data is a fold's training part. Published on fold 1: .8889
(GLocal-K, WWW 2021), .8855 (myFM with side information); mean of five: .8805 (myFM). Ours uses the time of the rating as well.
The interval is over users, from a thousand bootstrap samples.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
import argparse
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring.requirements import skip
from lodestar.data.split.rating_triples import RatingTriples
from lodestar.models.ratings.rating_factors import RatingFactors
from lodestar.models.ratings.ratings import Biases, RatingNeighbours, rmse
from lodestar.schema.arrays import Doubles
from lodestar.schema.time_units import SECOND_US

NUM_USERS, NUM_ITEMS, SAMPLES = 943, 1682, 1000
FIRST_YEAR, YEARS_AT_ONCE, YEAR_BINS, NUM_GENRES = 1930, 6, 12, 19


def fold(folder: Path, number: int) -> tuple[RatingTriples, RatingTriples]:
    """The training and the test ratings of a fold."""
    known, test = np.loadtxt(folder / "u.data", dtype=np.int64), np.loadtxt(folder / f"u{number}.test", dtype=np.int64)
    is_test = np.isin(known[:, 0] * (NUM_ITEMS + 1) + known[:, 1], test[:, 0] * (NUM_ITEMS + 1) + test[:, 1])
    return cells(known[~is_test]), cells(test)


def cells(rows: NDArray[np.int64]) -> RatingTriples:
    """Rating triples from rows of MovieLens' u.data [ratings, 4]: user, item (both from 1), value, UTC seconds."""
    return RatingTriples(user=rows[:, 0] - 1, item=rows[:, 1] - 1, value=rows[:, 2].astype(np.float64), time_us=rows[:, 3] * SECOND_US)


def attributes(folder: Path) -> tuple[Doubles, Doubles]:
    """Of users: sex, occupation, decade of age, first digit of the zip code; of items: genres and when they came out."""
    users = [line.split("|") for line in (folder / "u.user").read_text(encoding="latin1").splitlines()]
    columns = [one_of([row[place] for row in users]) for place in (2, 3)]
    columns += [one_of([str(int(row[1]) // 10) for row in users]), one_of([row[4][:1] if row[4][:1].isdigit() else "-" for row in users])]
    items = [line.split("|") for line in (folder / "u.item").read_text(encoding="latin1").splitlines()]
    genres = np.array([[float(value) for value in row[5 : 5 + NUM_GENRES]] for row in items])
    years = one_of([str((int(row[2][-4:]) - FIRST_YEAR) // YEARS_AT_ONCE) if row[2][-4:].isdigit() else "-" for row in items])
    return np.hstack(columns), np.hstack([genres, years])


def one_of(values: list[str]) -> Doubles:
    """One-hot matrix float64 [values, distinct values], columns in sorted order."""
    _, row = np.unique(values, return_inverse=True)
    return np.eye(int(row.max()) + 1)[row]


def interval(predicted: Doubles, test: RatingTriples) -> tuple[float, float]:
    """95 % bootstrap interval of the RMSE, with users drawn with replacement (Efron 1979)."""
    squares = np.bincount(test.user, weights=(predicted - test.value) ** 2, minlength=NUM_USERS)
    counts = np.bincount(test.user, minlength=NUM_USERS)
    known = np.flatnonzero(counts)
    drawn = np.random.default_rng(0).choice(known, (SAMPLES, len(known)))
    low, high = np.percentile(np.sqrt(squares[drawn].sum(axis=1) / counts[drawn].sum(axis=1)), [2.5, 97.5])
    return float(low), float(high)


def main(arguments: list[str] | None = None) -> int:
    """Print RMSE with its interval of each model on every split; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of MovieLens-100K, as its owners pack it")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args(arguments)
    if options.folder is None:
        skip("the folder of MovieLens-100K: lodestar data fetch movielens-100k")
    about = attributes(options.folder)
    found: dict[str, list[float]] = {}
    for number in options.folds:
        known, test = fold(options.folder, number)
        predicted = {"biases": Biases().fit(known, NUM_USERS, NUM_ITEMS).predict(test)}
        for kind in ("cosine", "pearson", "jaccard"):
            predicted[f"neighbours, {kind}"] = RatingNeighbours(kind).fit(known, NUM_USERS, NUM_ITEMS).predict(test)
        for seed in options.seeds:
            started = time.process_time()
            predicted[f"factors, seed {seed}"] = RatingFactors(seed=seed).fit(known, *about).predict(test)
            print(f"u{number}, seed {seed}: {time.process_time() - started:.0f} s of CPU", file=sys.stderr)
        for name, values in predicted.items():
            low, high = interval(values, test)
            found.setdefault(name, []).append(rmse(values, test))
            print(f"u{number} {name:22} RMSE {found[name][-1]:.4f} [{low:.4f}, {high:.4f}]", flush=True)
    for name, errors in found.items():
        print(f"mean {name:20} RMSE {np.mean(errors):.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
