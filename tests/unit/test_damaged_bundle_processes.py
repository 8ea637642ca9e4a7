"""A process that is given a damaged bundle serves nothing; the one that tries a graph is ended in time, and with who started it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lodestar.bundle import bundle
from lodestar.engine.onnx_probe import probe
from lodestar.errors import DataError
from tests import bundle_damage
from tests.bundle_damage_cases import CUT, DAMAGES, SLOW
from tests.unit.test_parent_death import is_there, waited


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return bundle_damage.whole(tmp_path / "bundle")


@pytest.mark.parametrize(
    "name", ["table.npz cut off at 50%, sealed", "a count of a month where a day's was", "a graph that makes terabytes"]
)
def test_nothing_is_served_from_a_damaged_bundle(root: Path, name: str) -> None:
    code, spoil = {**CUT, **DAMAGES}[name]
    spoil(root)
    served = subprocess.run(
        [sys.executable, "-m", "serving", "--bundle", str(root), "--port", "0"], capture_output=True, text=True, check=False
    )
    assert served.returncode == DataError.exit_code, served.stderr
    assert served.stderr.startswith(f"lodestar serve: {code} ")
    assert "Traceback" not in served.stderr


def test_a_graph_that_takes_too_long_is_ended(root: Path) -> None:
    SLOW["a graph of hours"][1](root)
    loaded = bundle.load(root)
    with pytest.raises(DataError, match=r"E184 .*(within 3 s|time)"):
        probe(loaded.encoder, bundle_damage.inputs(), "user", (1, bundle_damage.DIM), limit_s=3)


OPENED = """
import sys
from pathlib import Path
from lodestar.bundle import bundle
from lodestar.engine.onnx_probe import probe
from serving.http import graceful_shutdown
from tests import bundle_damage
graceful_shutdown.stop_on_signals("test")  # as a predictor does, whose children have its signals blocked
probe(bundle.load(Path(sys.argv[1])).encoder, bundle_damage.inputs(), "user", (1, bundle_damage.DIM))
"""


def test_a_graph_that_is_tried_ends_with_the_process_that_tries_it(root: Path) -> None:
    SLOW["a graph of hours"][1](root)
    with subprocess.Popen([sys.executable, "-c", OPENED, str(root)], stderr=subprocess.DEVNULL) as tried:
        child = waited(lambda: next(iter(probes(tried.pid)), 0))
        tried.kill()
    assert child
    assert waited(lambda: not is_there(child))


def probes(parent: int) -> list[int]:
    """Children that have read all of a graph and are about to run it."""
    children = map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split())
    return [child for child in children if "onnxruntime_pybind" in Path(f"/proc/{child}/maps").read_text()]
