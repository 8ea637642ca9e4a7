"""All that is compared with published figures, by one command that goes on where it was: on a GPU where there is one.

    python benchmarks/published.py FEATURES [--minutes 9] [--peer PYTHON]

FEATURES holds a folder for each set, as `lodestar features build` writes it: movielens-1m, amazon-beauty, amazon-sports and gowalla; a set
that is not there is left out. Recipes are frozen, nothing learns from the last two items of a user, three seeds. What a run found is kept
in benchmarks/results/ with its command, device and intervals, and is not made again. After so many minutes the run that is on its way is
ended and not kept: a machine that is free for ten minutes at a time is enough.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has
import argparse
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.measuring.requirements import skip

HERE, SEEDS = Path(__file__).parent, (0, 1, 2)
RECIPES = {"movielens-1m": "sasrec-m", "amazon-beauty": "sasrec_text", "amazon-sports": "sasrec_text"}
HELD_OUT, EPOCH = "gowalla", "movielens-1m"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What `command` finds is kept in `result`: by itself, or what it says."""

    data: Path
    command: list[str]
    result: Path
    says: bool = False


def runs(features: Path, peer: str | None) -> list[Run]:
    """One seed of every set, then the next."""
    results, made = HERE / "results", []
    for seed in SEEDS:
        for name, recipe in RECIPES.items():
            command = ["quality.py", str(features / name), "--recipe", recipe, "--seeds", str(seed), "--comparable"]
            made.append(Run(data=features / name, command=command, result=results / name / f"{recipe}-comparable-{seed}.json"))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name().replace(" ", "-").lower()
        command = ["gpu_epoch.py", str(features / EPOCH), *(["--peer", peer] if peer else [])]
        made.append(Run(data=features / EPOCH, command=command, result=results / EPOCH / f"epoch-{device}.txt", says=True))
    for seed in SEEDS:
        command = ["holdout.py", str(features / HELD_OUT), "--neighbours", "256", "--seed", str(seed)]
        made.append(Run(data=features / HELD_OUT, command=command, result=results / HELD_OUT / f"held-out-{seed}.txt", says=True))
    return [run for run in made if run.data.is_dir()]


def make(run: Run, seconds: float | None) -> bool:
    """Was there time for it?"""
    command = [sys.executable, str(HERE / run.command[0]), *run.command[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        said, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has started
        return False
    if process.returncode:
        sys.exit(complaint[-3000:])
    print(said, flush=True)
    if run.says:
        run.result.parent.mkdir(parents=True, exist_ok=True)
        run.result.write_text(said)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the commands whose results are not written yet, until all are or `--minutes` have passed; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, nargs="?", help="a folder with a folder of features for each set")
    parser.add_argument("--minutes", type=float, help="end after so many (default: when all is there)")
    parser.add_argument("--peer", metavar="PYTHON", help="one that has rectools[torch], for epochs on a GPU")
    options = parser.parse_args(arguments)
    if options.features is None:
        skip("FEATURES, with the folders movielens-1m, amazon-beauty, amazon-sports, gowalla: lodestar features build")
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else None
    waiting = [run for run in runs(options.features, options.peer) if not run.result.exists()]
    for place, run in enumerate(waiting):
        left = None if deadline is None else deadline - time.monotonic()
        print(f"{place + 1} of {len(waiting)}: {' '.join(run.command)}", flush=True)
        if (left is not None and left <= 0) or not make(run, left):
            print(f"{len(waiting) - place} are left: type the same again")
            return 0
    print("all is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
