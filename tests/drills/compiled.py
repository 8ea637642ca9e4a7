"""Encoders of all trained families compiled for this machine, which takes a minute each: an epoch gives the loss that it gives without."""

import json
import shutil

import torch._inductor.config

from lodestar.config import TRAINED_FAMILIES
from tests.drills.drills import Figures
from tests.unit.test_loop import short, trained

RELATIVE = 1e-4


def drill(seed: int, cases: int) -> Figures:
    """`cases` families, of those that need no text; AssertionError where a loss differs. Compiling for a CPU needs g++.

    No case is too short for a sample: tests/unit/test_compiled_encoder.py has the tracing without g++.
    """
    if not cases:
        return {}
    assert shutil.which("g++"), "g++ is not installed"
    torch._inductor.config.fallback_random = True  # BERT4Rec masks the same items
    found = {}
    for family in TRAINED_FAMILIES[:cases]:
        plain, compiled = (_loss(family, seed, is_compiled=on) for on in (False, True))
        assert abs(compiled - plain) <= RELATIVE * plain, (family, plain, compiled)
        found[family] = {"loss": plain, "loss_compiled": compiled}
    return found


def _loss(family: str, seed: int, *, is_compiled: bool) -> float:
    model = {"family": family, "dropout": 0.0, "use_text": False}
    recipe = short(json.dumps({"model": model, "train": {"compile": is_compiled, "epochs": 1, "seed": seed}}))
    return float(trained(recipe)[1].log[0]["loss"])
