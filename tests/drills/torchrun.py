"""Two workers that torchrun starts train what one does, whole, sharded and by rows: each run imports torch three times, 12 s of CPU."""

import tempfile
from pathlib import Path

from lodestar.bundle import bundle
from lodestar.training import run
from lodestar.training.distributed.local_workers import available_cores
from tests.cycles import features
from tests.drills.drills import Figures
from tests.unit.test_training_workers import RUNS, recipe

PAIRS = (("one", "two"), ("one", "two, sharded"), ("one by rows", "two by rows"))
NEARLY = 0.05


def drill(seed: int, cases: int) -> Figures:
    """`cases` of PAIRS; AssertionError where two workers are not as good as one. Needs two cores; the suite has parts.

    tests/unit/test_torchrun.py has torchrun without an optimiser, tests/unit/test_training_workers.py the same runs without torchrun.
    """
    found: dict[str, dict[str, float]] = {}
    if not cases:
        return found
    assert available_cores() > 1, "this needs two cores"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        features(root / "features")
        for alone, together in PAIRS[:cases]:
            one, two = (_ndcg(root, name, seed) for name in (alone, together))
            assert abs(two - one) <= NEARLY, (together, one, two)
            found[together] = {"ndcg_of_one": one, "ndcg_of_two": two}
    return found


def _ndcg(root: Path, name: str, seed: int) -> float:
    workers, train = RUNS[name]
    if not (root / name).exists():
        run.train(root / "features", root / name, recipe(workers, {**train, "seed": seed}), str(root / f"checkpoints of {name}"))
    return bundle.load(root / name).info.metrics["validation_ndcg_at_10"]
