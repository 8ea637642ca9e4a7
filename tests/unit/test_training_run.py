"""A run leaves a bundle that answers; stopped anywhere it goes on to the same one, and a full disk leaves none."""

import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.config import Recipe, override
from lodestar.engine.recommender import Recommender
from lodestar.errors import ConfigError, DataError, EnvironmentFault
from lodestar.features.batch import feature_set
from lodestar.recipes import get_recipe
from lodestar.training import run
from lodestar.training.__main__ import main
from lodestar.training.distributed import local_workers
from lodestar.training.loop.checkpoints import Checkpoints, TrainingState
from lodestar.training.loop.tensorboard import TensorBoardWriter
from tests.cycles import NUM_ITEMS, features

OVERRIDES: dict[str, dict[str, Any]] = {
    "train": {"epochs": 4, "refit": True, "item_init": "cooccurrence", "batch_tokens": 128},
    "model": {"num_neighbours": 4},
}


def quick(**train: Any) -> Recipe:
    overrides = {**OVERRIDES, "train": {**OVERRIDES["train"], **train}}
    return override(get_recipe("tiny"), json.dumps(overrides))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features, and the bundle and checkpoints of a run on them that nothing stopped. To be read only."""
    folder = tmp_path_factory.mktemp("unbroken")
    run.train(features(folder / "features"), folder / "bundle", quick(), str(folder / "checkpoints"))
    return folder


def test_saving_takes_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first state is saved, then none until twenty seconds after a save of one second."""
    clock, saved = [100.0], list[int]()
    monkeypatch.setattr("lodestar.training.run.time.monotonic", lambda: clock[0])

    def save(_self: Checkpoints, state: TrainingState) -> None:
        saved.append(state.epoch)
        clock[0] += 1.0

    monkeypatch.setattr(Checkpoints, "save", save)
    keep = run.ThrottledCheckpointer(Checkpoints(address=str(tmp_path), run="one"), TensorBoardWriter("one"))
    for epoch in range(50):
        keep(TrainingState(stage="search", epoch=epoch, log=[{"stage": "search", "epoch": epoch}]))
        clock[0] += 1.0
    assert saved == [0, 20, 40]


def test_a_run_leaves_a_bundle_that_answers(unbroken: Path) -> None:
    loaded = bundle.load(unbroken / "bundle")
    assert loaded.info.dim == 16
    assert loaded.neighbours is None or loaded.neighbours.item.shape == (NUM_ITEMS, 4)
    assert loaded.info.features == feature_set.load(unbroken / "features").generation
    answer = Recommender(loaded).recommend(["i1", "i2"], k=3)
    assert answer[0].item_id == "i3"
    log = [json.loads(line) for line in (unbroken / "bundle" / "epochs.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in log} == {"search", "refit"}


@pytest.mark.parametrize("last", [("search", 2), ("search", 4), ("refit", 1)])
def test_a_run_that_was_stopped_ends_as_an_unbroken_one(
    unbroken: Path, last: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Checkpoints.save

    def save_and_stop(self: Checkpoints, state: TrainingState) -> None:
        save(self, state)
        if (state.stage, state.epoch) == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "SAVE_INTERVAL_FACTOR", 0)  # of each epoch
        patch.setattr(Checkpoints, "save", save_and_stop)
        run.train(unbroken / "features", tmp_path / "broken", quick(), str(tmp_path / "checkpoints"))
    assert not (tmp_path / "broken").exists()
    run.train(unbroken / "features", tmp_path / "broken", quick(), str(tmp_path / "checkpoints"))
    assert bundle.load(tmp_path / "broken").digest == bundle.load(unbroken / "bundle").digest


def test_more_workers_than_cores_are_refused_before_one_is_started(unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_workers, "available_cores", lambda: 2)
    monkeypatch.setattr("subprocess.run", lambda *_arguments, **_options: pytest.fail("a worker was started"))
    with pytest.raises(ConfigError, match=r"E180 train\.workers must be at most 2 here, .*: 3"):
        run.train(unbroken / "features", tmp_path / "bundle", quick(workers=3), str(tmp_path / "checkpoints"))


def test_the_command_of_a_worker_names_recipe_and_overrides(tmp_path: Path) -> None:
    found = features(tmp_path / "features")
    addresses = ["--features", str(found), "--output", str(tmp_path / "bundle"), "--checkpoints", str(tmp_path / "checkpoints")]
    assert main([*addresses, "--recipe", "tiny", "--overrides", '{"train": {"epochs": 1}}']) == 0
    assert bundle.load(tmp_path / "bundle").info.recipe == "tiny"
    assert main([*addresses, "--recipe", "none"]) == 2


def test_features_of_another_run_are_not_gone_on_from(unbroken: Path, tmp_path: Path) -> None:
    other = features(tmp_path / "other", users=50)
    for name, checkpoints in (("after", unbroken / "checkpoints"), ("anew", tmp_path / "checkpoints")):
        run.train(other, tmp_path / name, quick(), str(checkpoints))
    assert bundle.load(tmp_path / "after").digest == bundle.load(tmp_path / "anew").digest


def test_a_folder_without_features_is_a_coded_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="E151"):
        run.train(tmp_path, tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))


def test_epochs_are_shown_in_tensorboard_where_a_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("LODESTAR_TENSORBOARD", str(tmp_path / "live"))
    run.train(features(tmp_path / "features"), tmp_path / "bundle", quick(epochs=3), str(tmp_path / "checkpoints"))
    log = [json.loads(line) for line in (tmp_path / "bundle" / "epochs.jsonl").read_text().splitlines()]
    ((folder),) = (tmp_path / "live").iterdir()
    for stage in ("search", "refit"):
        shown = EventAccumulator(str(folder / stage)).Reload()
        expected = [line["loss"] for line in log if line["stage"] == stage]
        assert [event.value for event in shown.Scalars("loss")] == pytest.approx(expected)
        assert [event.step for event in shown.Scalars("loss")] == list(range(1, len(expected) + 1))


def test_tensorboard_that_is_not_there_is_said_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODESTAR_TENSORBOARD", str(tmp_path / "live"))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(EnvironmentFault, match="E593"):
        run.train(features(tmp_path / "features"), tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))
    assert not (tmp_path / "bundle").exists()


def test_one_item_is_too_few(tmp_path: Path) -> None:
    found = features(tmp_path / "features")
    content = dict(np.load(found / "sequences.npz"))
    content["item"] = np.zeros_like(content["item"])
    np.savez(found / "sequences.npz", **content)
    with pytest.raises(DataError, match=r"E203.*1 items"):
        run.train(found, tmp_path / "bundle", quick(), str(tmp_path / "checkpoints"))
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("most_bytes", [1_000, 60_000])
def test_a_full_disk_is_a_coded_error_that_leaves_no_bundle(
    unbroken: Path, most_bytes: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that may not grow is what a full disk looks like; the smaller limit stops a checkpoint, the larger one the bundle."""
    addresses = {"features": unbroken / "features", "output": tmp_path / "bundle", "checkpoints": tmp_path / "checkpoints"}
    options = [*(f"--{name}={place}" for name, place in addresses.items()), "--recipe=tiny", '--overrides={"train": {"epochs": 1}}']
    with files_of_at_most(most_bytes):
        code = main(options)
    said = capsys.readouterr().err
    assert (code, "E506" in said, "Traceback" in said) == (5, True, False), said
    assert not (tmp_path / "bundle").exists()
    assert main(options) == 0
    bundle.load(tmp_path / "bundle")


@contextmanager
def files_of_at_most(most_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
