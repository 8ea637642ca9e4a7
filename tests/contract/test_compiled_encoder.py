"""An encoder that torch.compile turns into machine code learns what it does without: compiling takes g++ most of a minute."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOSSES_PLAIN_AND_COMPILED = """
import json
from tests.unit.test_loop import short, trained
states = [trained(short(json.dumps({"train": {"compile": on, "epochs": 1}, "model": {"dropout": 0.0}})))[1] for on in (False, True)]
print(json.dumps([[line["loss"] for line in state.log] for state in states]))
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_a_compiled_encoder_learns_the_same() -> None:
    """In a process of its own: the compiler does not see through the checks of shapes."""
    done = subprocess.run([sys.executable, "-c", LOSSES_PLAIN_AND_COMPILED], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    plain, compiled = json.loads(done.stdout.splitlines()[-1])
    assert compiled == pytest.approx(plain, rel=1e-4)
