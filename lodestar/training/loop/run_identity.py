"""Identity of a training run: a digest of all that its weights depend on, so that a checkpoint is resumed by the same run alone."""

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from lodestar.config import Recipe, to_json
from lodestar.io import storage
from lodestar.training.loop import weights

DIGITS = 16
PACKAGE = Path(__file__).parents[2]
ROOMS = ("data/split", "metrics", "models", "training")  # the code that trained weights depend on


def run_identity(recipe: Recipe, generation: str) -> str:
    """Digest, 16 hex digits, of a recipe, the feature generation, what initialises weights (the content of addresses), and the code.

    The number of workers does not count: batches and learning rate do not depend on it, so another number can resume the run.
    """
    total = hashlib.sha256(f"{to_json(replace(recipe, train=replace(recipe.train, workers=1)))} {generation} {_code_digest()}".encode())
    for name, address in recipe.train.addresses.items():
        content = storage.get(weights.address(address) if name == "warm_start" else address)
        total.update(f" {name} {hashlib.sha256(content or b'').hexdigest()}".encode())
    return total.hexdigest()[:DIGITS]


@cache
def _code_digest() -> str:
    total = hashlib.sha256()
    for file in sorted(file for room in ROOMS for file in (PACKAGE / room).rglob("*.py")):
        total.update(f"{file.relative_to(PACKAGE).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()
