"""What several unit tests stand on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.rollout import rollout
from tests.unit.rollout_fakes import FakeApiServer


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A rollout's commands speak to the API server in memory that this is called with; it is returned."""

    def used(api: FakeApiServer) -> FakeApiServer:
        monkeypatch.setattr(rollout, "connect", lambda _service: api)
        return api

    return used


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB; skipped where this account may mount none."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=100", "none", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
