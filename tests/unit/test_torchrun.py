"""A run of several workers is started by torchrun."""

from pathlib import Path

import pytest

from lodestar.bundle import bundle
from lodestar.config import Recipe, override
from lodestar.recipes import get_recipe
from lodestar.training.distributed import local_workers
from tests.cycles import features


def counted(workers: int) -> Recipe:
    """A closed-form model, which needs no optimiser of torch: a worker of it starts in half the time. `tests/drills/torchrun.py` trains."""
    return override(get_recipe("popularity"), f'{{"train": {{"workers": {workers}}}}}')


def test_workers_started_by_torchrun_leave_one_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_workers, "available_cores", lambda: 2)
    local_workers.start_workers(features(tmp_path / "features"), tmp_path / "bundle", counted(2), str(tmp_path / "checkpoints"))
    assert bundle.load(tmp_path / "bundle").info.recipe == "popularity"
