"""One epoch of SASRec on a GPU beside RecTools' on the same one: the same sequences, width, layers, heads, length, dropout and rate.

Ours predicts every position among all items, as exact as float32 on the matrix units by TF32, in bfloat16, and in bfloat16 compiled. Steps
take as many places as 128 histories of full length. A figure is the median by the clock of epochs after the first three, in which kernels
are chosen, compiled and recorded; of the peer it is the fastest epoch.

    python benchmarks/gpu_epoch.py [FEATURES] [--peer PYTHON]

FEATURES is what `lodestar features build` wrote; without it, those of a small simulated shop are built first.
The peer needs an environment with rectools[torch]; without --peer it is left out.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))
import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.measuring import sample
from benchmarks.measuring.requirements import skip
from benchmarks.training import PEERS, RECTOOLS, save
from lodestar.config import DataConfig, ModelConfig, Recipe, TrainConfig
from lodestar.features.batch import feature_set
from lodestar.features.batch.feature_set import FeatureSet
from lodestar.training.distributed.distributed import Group, choose_device
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.stages import Training

BATCH, EPOCHS, WARM_UP = 128, 9, 3
SETTINGS: dict[str, Any] = {
    "dim": 64,
    "num_layers": 2,
    "num_heads": 2,
    "max_length": 200,
    "dropout": 0.2,
    "learning_rate": 1e-3,
    "batch": BATCH,
}
OURS: dict[str, dict[str, Any]] = {
    "ours, TF32": {"precision": "fp32"},
    "ours, bfloat16": {"precision": "bf16"},
    "ours, bfloat16, compiled": {"precision": "bf16", "compile": True},
}
LOSSES = ("BCE", "softmax")
BF16_FLOP_S, BYTES_S = 790e12, 4.3e12  # seen on an H200: a product of 8,192 x 8,192 matrices, and a copy


def epoch_s(found: FeatureSet, how: dict[str, Any]) -> float:
    """Median wall seconds of an epoch on the GPU, without the first WARM_UP; `how` are fields of TrainConfig."""
    shape = ModelConfig(**{name: SETTINGS[name] for name in ("dim", "num_layers", "num_heads", "max_length", "dropout")})
    train = TrainConfig(
        learning_rate=SETTINGS["learning_rate"], batch_tokens=BATCH * shape.max_length, epochs=EPOCHS, validate_every=EPOCHS, **how
    )
    recipe = Recipe(name="epoch", model=shape, train=train)
    state = Training(found, recipe, Group(device=choose_device("cuda")), lambda _: None).search(TrainingState(stage="search")).state
    return median([float(line["seconds"]) for line in state.log[WARM_UP:]])


def theirs(python: str, file: Path, loss: str) -> float:
    """Wall seconds of RecTools' epoch on the GPU, run by that Python; exits with its last error if it fails."""
    settings = json.dumps({**SETTINGS, "seed": 0, "device": "cuda", "threads": 8, "workers": 4})
    done = subprocess.run(
        [python, PEERS / f"{RECTOOLS}_sasrec.py", file, loss, "3", "3", settings], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return float(json.loads(done.stdout.splitlines()[-1])["epoch_s"])


def floor_s(places: int, num_items: int) -> float:
    """Products of the layers and of the softmax forward and backward, and scores written and read three times, two bytes each."""
    dim = SETTINGS["dim"]
    flops = places * 6 * (12 * dim**2 * SETTINGS["num_layers"] + num_items * dim)
    return float(flops / BF16_FLOP_S + places * num_items * 2 * 6 / BYTES_S)


def main(arguments: list[str] | None = None) -> int:
    """Print wall ms per epoch of every form of ours and of RecTools' SASRec; without a GPU it says so. Exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?", help="a folder of features (default: those of a small simulated shop)")
    parser.add_argument("--peer", metavar="PYTHON", help="one that has rectools[torch]")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        skip("a GPU: run it on a machine that has one")
    with sample.features(options.features) as folder:
        compare(feature_set.load(folder), options.peer)
    return 0


def compare(found: FeatureSet, peer: str | None) -> None:
    """Print wall ms per epoch of every form of ours, its share of the floor, and RecTools' with `peer` as ratios."""
    split = found.split(DataConfig())
    places = sum(max(0, len(items) - 1) for items in split.train)
    elapsed: dict[str, float] = {}
    print(f"{torch.cuda.get_device_name()}, {places:,} places, {len(found.items):,} items, width {SETTINGS['dim']}")
    for name, how in OURS.items():
        elapsed[name] = epoch_s(found, how)
        share = floor_s(places, len(found.items)) / elapsed[name]
        print(
            f"  {name:26}{elapsed[name] * 1e3:9.1f} ms an epoch  {places / elapsed[name] / 1e6:6.2f} M places/s  {share:.0%} of the floor"
        )
    if peer:
        with tempfile.TemporaryDirectory() as folder:
            save(split, Path(folder) / "sequences.npz")
            for loss in LOSSES:
                seconds = theirs(peer, Path(folder) / "sequences.npz", loss)
                ratios = ", ".join(f"{seconds / own:.1f}x {name}" for name, own in elapsed.items())
                print(f"  {'RecTools, ' + loss:26}{seconds * 1e3:9.1f} ms an epoch: {ratios}")


if __name__ == "__main__":
    sys.exit(main())
