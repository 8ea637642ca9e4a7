"""A local release stays where others were released by clocks that ran ahead."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.release import local_release
from feature_repo import materialise


def test_the_release_that_was_just_made_current_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = tmp_path / "bundle", tmp_path / "out"
    source.mkdir()

    def fill(_features: Path, folder: Path) -> None:
        (folder / "online").mkdir(parents=True)

    def release(number: int) -> Path:
        name = f"{number:016x}"
        loaded: Any = SimpleNamespace(info=SimpleNamespace(features=name), digest=name)
        monkeypatch.setattr(local_release, "load", lambda _: loaded)
        return Path(local_release.release_locally(source, tmp_path, destination, f"2026-01-0{number}T00:00:00+00:00"))

    monkeypatch.setattr(materialise, "materialise_sqlite", fill)
    _, previous = release(1), release(2)
    for number, made in enumerate(sorted((destination / "releases").iterdir())):
        ahead_s = time.time() + 1e6 + number
        os.utime(made / "release.json", (ahead_s, ahead_s))
    current = release(3)
    assert (destination / "current").resolve() == current.parent
    assert {path.name for path in (destination / "releases").iterdir()} == {current.parent.name, previous.parent.name}
