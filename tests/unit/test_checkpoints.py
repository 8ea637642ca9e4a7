"""A checkpoint is resumed by the run that it is of, is told from a damaged one, and goes when its run has ended."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lodestar.bundle import bundle
from lodestar.config import Recipe, override
from lodestar.errors import DataError
from lodestar.recipes import get_recipe
from lodestar.training import run
from lodestar.training.loop import run_identity
from lodestar.training.loop.checkpoints import FILE, Checkpoints, TrainingState
from tests.cycles import features

STOPPED_AT = 2


def quick(**train: object) -> Recipe:
    return override(get_recipe("tiny"), json.dumps({"train": {"epochs": 3, "batch_tokens": 128, **train}}))


class Killed(BaseException):
    pass


def stop(found: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start a run and stop it after two epochs; its checkpoint's file."""
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, state: TrainingState) -> None:
        save(self, state)
        if state.epoch == STOPPED_AT:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run, "SAVE_INTERVAL_FACTOR", 0)
        patch.setattr(Checkpoints, "save", save_and_stop)
        run.train(found, folder / "bundle", quick(), str(folder / "checkpoints"))
    ((file),) = (folder / "checkpoints").rglob(FILE)
    return file


def test_a_finished_run_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(tmp_path / "features")
    stop(found, tmp_path, monkeypatch)
    run.train(found, tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))
    assert list((tmp_path / "checkpoints").iterdir()) == []
    shutil.rmtree(tmp_path / "bundle")
    run.train(found, tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))
    assert json.loads((tmp_path / "bundle" / "cost.json").read_text())["samples"] > 0


def test_a_bundle_that_cannot_be_uploaded_keeps_its_checkpoint(tmp_path: Path) -> None:
    def refuse() -> None:
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        run.train(features(tmp_path / "features"), tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"), refuse)
    assert len(list((tmp_path / "checkpoints").rglob(FILE))) == 1


def test_a_damaged_checkpoint_is_a_coded_error_until_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(tmp_path / "features")
    file = stop(found, tmp_path, monkeypatch)
    file.write_bytes(file.read_bytes()[:-1000])
    for _ in range(2):
        with pytest.raises(DataError, match=f"E191 the checkpoint in {file.parent} is damaged. Delete {file.parent}"):
            run.train(found, tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))
    shutil.rmtree(file.parent)
    run.train(found, tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))
    bundle.load(tmp_path / "bundle")


def test_no_damage_goes_unseen(tmp_path: Path) -> None:
    store = Checkpoints(address=str(tmp_path), run="one")
    store.save(TrainingState(stage="search", model={"a": torch.zeros(100)}))
    content = store.load() or b""
    assert store.decode(content).stage == "search"
    for length in range(0, len(content), 97):
        with pytest.raises(DataError, match="E191"):
            store.decode(content[:length])
    for place in range(0, len(content), 97):
        with pytest.raises(DataError, match="E191"):
            store.decode(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def test_a_checkpoint_copies_no_tensor_before_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, seen = torch.zeros(3), list[torch.Tensor]()
    save = torch.save

    def see(values: dict[str, dict[str, torch.Tensor]], file: object) -> None:
        seen.append(values["model"]["a"])
        save(values, file)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "save", see)
    Checkpoints(address=str(tmp_path), run="one").save(TrainingState(stage="search", model={"a": weight}))
    assert seen[0] is weight


def test_a_run_is_the_same_with_another_number_of_workers_alone(tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    warm.mkdir()
    vectors = tmp_path / "vectors.parquet"
    (warm / "weights.npz").write_bytes(b"one")
    vectors.write_bytes(b"one")

    def identity(**train: object) -> str:
        return run_identity.run_identity(quick(warm_start=str(warm), item_init=f"pretrained:{vectors}", **train), "f")

    first = identity()
    assert identity(workers=4) == first
    assert identity(seed=1) != first
    (warm / "weights.npz").write_bytes(b"two")
    second = identity()
    assert second != first
    vectors.write_bytes(b"two")
    assert identity() not in {first, second}
    (warm / "weights.npz").write_bytes(b"one")
    vectors.write_bytes(b"one")
    assert identity() == first


def test_other_code_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "models" / "encoder.py"
    file.parent.mkdir()
    monkeypatch.setattr(run_identity, "PACKAGE", tmp_path)
    found = []
    for source in ("wrong = 1", "right = 1", "wrong = 1"):
        file.write_text(source)
        run_identity._code_digest.cache_clear()
        found.append(run_identity.run_identity(quick(), "f"))
    run_identity._code_digest.cache_clear()
    assert found[0] == found[2] != found[1]


def test_another_bundle_at_the_same_address_is_started_from_anew(tmp_path: Path) -> None:
    """The first run is stopped before its bundle is uploaded, so that its checkpoint stays."""
    found = features(tmp_path / "features")
    weight = []
    for seed in (1, 2):
        run.train(found, tmp_path / "old", quick(seed=seed), str(tmp_path / "old-checkpoints"))
        with pytest.raises(Killed):
            run.train(found, tmp_path / "new", quick(warm_start=str(tmp_path / "old")), str(tmp_path / "checkpoints"), stopped)
        weight.append(np.load(tmp_path / "new" / "weights.npz")["items.weight"])
    assert not np.array_equal(*weight)


def stopped() -> None:
    raise Killed
