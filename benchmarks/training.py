"""Training SASRec on a CPU beside RecTools' and RecBole's: the same sequences, width, layers, heads, length, dropout, rate; one thread.

Each implementation trains on all but the last two items of a user and is evaluated on the second last: a full ranking without seen items.
Every few epochs it says how much CPU its training has used and how good it is. Two figures come of it: CPU a position that was trained on,
and CPU until the NDCG@10 that both have reached. `recipe` is ours as it is run, with what counting knows to begin from.

    python benchmarks/training.py [FEATURES] [--peer PYTHON] [--recbole PYTHON] [--epochs N] [--every N]

Published: --epochs 40 --every 4

FEATURES is what `lodestar features build` wrote; without it, those of a small simulated shop are built first.
The peers need environments of their own, since they want an older numpy: --install makes them in build/, which takes minutes, and one
that is not there is left out. RecBole learns from every beginning of a history by itself: an epoch of MovieLens-100K
takes it 400 s, so it has few.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.measuring import sample
from benchmarks.measuring.requirements import SKIPPED
from lodestar.config import DataConfig, ModelConfig, Recipe, TrainConfig
from lodestar.data.split.splits import EvalCases, Split
from lodestar.features.batch import feature_set
from lodestar.recipes import get_recipe

PEERS = Path(__file__).with_name("peers")
RECTOOLS, RECBOLE = "rectools", "recbole"
PINNED = {
    RECTOOLS: ("rectools[torch]==0.19.0", "torch==2.13.0"),
    RECBOLE: ("recbole==1.2.1", "torch==2.13.0", "numpy<2", "pandas<2.3", "scipy<1.14", "setuptools<80"),
}
SETTINGS: dict[str, Any] = {
    "dim": 64,
    "num_layers": 2,
    "num_heads": 2,
    "max_length": 100,
    "dropout": 0.2,
    "learning_rate": 2e-3,
    "batch": 32,
}
# Floating point operations a place: forward and backward are three products for each of 12 D² weights a layer, attention and scores aside.
GEMM_FLOPS = 3 * 2 * 12


@dataclass(frozen=True, kw_only=True)
class Point:
    """After some epochs: CPU seconds of training, positions trained on, and NDCG@10."""

    cpu_s: float
    places: int
    ndcg: float


def like_for_like(loss: str, seed: int, epochs: int) -> Recipe:
    """Ours with the peer's settings: random start, constant order, nothing beside it."""
    shape = ModelConfig(
        dim=SETTINGS["dim"],
        num_layers=SETTINGS["num_layers"],
        num_heads=SETTINGS["num_heads"],
        max_length=SETTINGS["max_length"],
        dropout=SETTINGS["dropout"],
    )
    train = TrainConfig(
        loss=loss,  # type: ignore[arg-type]
        learning_rate=SETTINGS["learning_rate"],
        batch_tokens=SETTINGS["batch"] * SETTINGS["max_length"],
        epochs=epochs,
        patience=epochs,
        seed=seed,
    )
    return Recipe(name=loss, data=DataConfig(), model=shape, train=train)


def ours(features: Path, chosen: Recipe) -> Iterator[Point]:
    """Trains in this process, and says where it stands as often as the recipe validates."""
    import torch

    from lodestar.training.distributed.distributed import Group
    from lodestar.training.loop.checkpoints import TrainingState
    from lodestar.training.stages import Training

    torch.set_num_threads(1)
    log: list[dict[str, Any]] = (
        Training(feature_set.load(features), chosen, Group(), lambda _: None).search(TrainingState(stage="search")).state.log
    )
    cpu_s, places = 0.0, 0
    for line in log:
        cpu_s, places = cpu_s + line["cpu_seconds"], places + line["samples"]
        if "ndcg_at_10" in line:
            yield Point(cpu_s=cpu_s, places=places, ndcg=line["ndcg_at_10"])


def theirs(peer: list[str], file: Path, loss: str, seed: int, epochs: int, every: int) -> Iterator[Point]:
    """Points of a peer, named by its Python and its program."""
    settings = json.dumps({**SETTINGS, "seed": seed})
    done = subprocess.run([*peer, str(file), loss, str(epochs), str(every), settings], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    for line in done.stdout.splitlines():
        found = json.loads(line)
        yield Point(cpu_s=found["cpu_s"], places=found["places"], ndcg=found["ndcg"])


def until(points: list[Point], ndcg: float) -> float:
    """CPU seconds to the first point that is as good."""
    return next(point.cpu_s for point in points if point.ndcg >= ndcg)


def save(split: Split, file: Path) -> None:
    """The training sequences, and each user's target item; only users who have one."""
    cases: EvalCases = split.validation
    sequences = [split.train[user] for user in cases.user]
    bounds = np.cumsum([0, *(len(items) for items in sequences)])
    np.savez(file, bounds=bounds, items=np.concatenate(sequences), target=np.concatenate([items[:1] for items in cases.relevant]))


def program(peer: str, python: str | None, *, is_made: bool) -> list[str]:
    """What runs a peer, in the environment that is named or in its own; nothing, said in one line, if there is none and none is made."""
    folder = Path("build") / peer
    if python is None and not (folder / ".ready").exists():
        if not is_made:
            print(f"{SKIPPED} {peer}, which is left out: python benchmarks/training.py --install makes its environment", flush=True)
            return []
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *PINNED[peer]]
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{peer} could not be installed into {folder}")
        (folder / ".ready").touch()
    return [python or str(folder / "bin" / "python"), str(PEERS / f"{peer}_sasrec.py")]


def main(arguments: list[str] | None = None) -> int:
    """Print CPU per target and CPU seconds until equal NDCG@10 of ours and the peers; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?", help="a folder of features (default: those of a small simulated shop)")
    parser.add_argument("--peer", metavar="PYTHON", help="one that has rectools[torch]")
    parser.add_argument("--recbole", metavar="PYTHON", help="one that has recbole")
    parser.add_argument("--recbole-epochs", type=int, default=1, metavar="N", help="0 leaves it out (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="of each implementation (default: %(default)s)")
    parser.add_argument("--every", type=int, default=2, help="epochs between two measurements (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="with seeds 0, 1, … (default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="make the environments of the peers that are not named")
    options = parser.parse_args(arguments)
    with sample.features(options.features) as features:
        shown(compare(features, options))
    return 0


def compare(features: Path, options: argparse.Namespace) -> dict[str, list[list[Point]]]:
    """The points of each implementation's rounds."""
    rectools = program(RECTOOLS, options.peer, is_made=options.install)
    recbole = program(RECBOLE, options.recbole, is_made=options.install) if options.recbole_epochs else []
    found: dict[str, list[list[Point]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sequences.npz"
        save(feature_set.load(features).split(DataConfig()), file)
        for seed in range(options.rounds):
            for loss, name in (("softmax", "softmax"), ("bce", "BCE")):
                own = like_for_like(loss, seed, options.epochs)
                own = replace(own, train=replace(own.train, validate_every=options.every))
                found.setdefault(f"ours, {name}", []).append(list(ours(features, own)))
                if rectools:
                    points = list(theirs(rectools, file, name, seed, options.epochs, options.every))
                    found.setdefault(f"RecTools, {name}", []).append(points)
            if recbole:
                found.setdefault("RecBole, softmax", []).append(list(theirs(recbole, file, "CE", seed, options.recbole_epochs, 1)))
            made = get_recipe("sasrec")
            own = replace(made, train=replace(made.train, seed=seed))
            found.setdefault("recipe", []).append(list(ours(features, own)))
    return found


def shown(found: dict[str, list[list[Point]]]) -> None:
    """Print medians over rounds of each model, and for each peer the ratio of CPU until the NDCG@10 that both reach."""
    print(f"{'':20}{'CPU us a place':>16}{'best NDCG@10':>14}{'CPU s in all':>14}")
    cost = {}
    for name, runs in found.items():
        cost[name] = median(run[-1].cpu_s / run[-1].places * 1e6 for run in runs)
        best = median(max(point.ndcg for point in run) for run in runs)
        print(f"{name:20}{cost[name]:>16.1f}{best:>14.4f}{median(run[-1].cpu_s for run in runs):>14.1f}")
    floor = GEMM_FLOPS * SETTINGS["dim"] ** 2 * SETTINGS["num_layers"] / 1e6
    print(f"the layers' products are {floor:.2f} MFLOP a place\n")
    for peer in (name for name in found if name.startswith("Rec")):
        for name in (f"ours, {peer.partition(', ')[2]}", "recipe"):
            ratios, levels = [], []
            for mine, other in zip(found[name], found[peer], strict=True):
                level = min(max(point.ndcg for point in run) for run in (mine, other))
                ratios.append(until(other, level) / until(mine, level))
                levels.append(level)
            print(f"{peer} / {name}: {cost[peer] / cost[name]:.1f}x a place, {median(ratios):.1f}x to NDCG@10 {median(levels):.4f}")


if __name__ == "__main__":
    sys.exit(main())
