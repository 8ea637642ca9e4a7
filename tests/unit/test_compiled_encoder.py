"""An encoder that torch.compile has traced, in one graph for batches of any shape, learns what it does untraced."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What is traced is run as it is: turning it into machine code takes g++ a minute, see tests/drills/compiled.py.
LOSSES_PLAIN_AND_TRACED = """
import functools, json, torch
from torch._dynamo.utils import counters
torch.compile = functools.partial(torch.compile, backend="eager", fullgraph=True)
from tests.unit.test_loop import short, trained
states = [trained(short(json.dumps({"train": {"compile": on, "epochs": 1}, "model": {"dropout": 0.0}})))[1] for on in (False, True)]
print(json.dumps([[line["loss"] for line in state.log] for state in states] + [counters["stats"]["unique_graphs"]]))
"""


def test_a_traced_encoder_learns_the_same() -> None:
    """In a process of its own: the compiler does not see through the checks of shapes."""
    done = subprocess.run([sys.executable, "-c", LOSSES_PLAIN_AND_TRACED], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    plain, traced, graphs = json.loads(done.stdout.splitlines()[-1])
    assert traced == pytest.approx(plain, rel=1e-4)
    assert 1 <= graphs <= 4  # of the encoder and of the loss, each for one shape and then for any
