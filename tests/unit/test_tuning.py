"""The search for hyperparameters: on the validation items alone, resumable, in several processes."""

import json
import multiprocessing
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cli.main import main
from lodestar.config import override
from lodestar.errors import DataError, Diverged, EnvironmentFault, UsageError
from lodestar.features.batch import feature_set
from lodestar.recipes import get_recipe
from lodestar.training.distributed.distributed import Group
from lodestar.training.loop.checkpoints import TrainingState
from lodestar.training.stages import Trained, Training
from lodestar.tuning import search
from lodestar.tuning.search import BEST, JOURNAL, tune
from tests.cycles import features

QUICK = '{"train": {"epochs": 2, "learning_rate": 0.01, "weight_decay": 0.0, "order_jitter": 0.0, "batch_tokens": 128}}'


def test_a_search_is_gone_on_with_and_ends_with_its_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = features(tmp_path / "features")
    asked = ["tune", "--features", str(found), "--recipe", "tiny", "--overrides", QUICK, "--output", str(tmp_path / "study")]
    assert main([*asked, "--jobs", "1", "--trials", "2"]) == 0
    kept = (tmp_path / "study" / JOURNAL).read_bytes()
    assert main([*asked, "--jobs", "2", "--trials", "5"]) == 0
    assert (tmp_path / "study" / JOURNAL).read_bytes().startswith(kept)
    said = capsys.readouterr().out
    rows = [line.split(" | ") for line in said.splitlines() if re.match(r"\| \d", line)][2:]
    assert sorted(row[0].strip("| ") for row in rows) == ["0", "1", "2", "3", "4"]
    best = json.loads((tmp_path / "study" / BEST).read_text())
    assert set(best) == {"model", "train"}
    assert best["train"].items() >= json.loads(QUICK)["train"].items()
    finished = [float(row[1]) for row in rows if row[2] == "complete"]
    assert finished == sorted(finished, reverse=True)
    override(get_recipe("tiny"), json.dumps(best))
    with pytest.raises(UsageError, match="another recipe"):
        tune(found, get_recipe("tiny"), "{}", tmp_path / "study", 1, 1)


def test_the_same_seed_gives_the_same_search_and_going_on_draws_anew(tmp_path: Path) -> None:
    found, quick = features(tmp_path / "features"), override(get_recipe("tiny"), QUICK)

    def values(name: str, trials: int) -> list[Any]:
        tried = tune(found, quick, QUICK, tmp_path / name, trials, 1)
        return [trial.values for trial in sorted(tried, key=lambda trial: trial.number)]

    first = values("first", 2)
    assert values("second", 1) == first[:1]
    assert values("second", 2)[1] not in first


def test_without_validation_items_there_is_nothing_to_search_on(tmp_path: Path) -> None:
    short = override(get_recipe("tiny"), '{"data": {"min_interactions": 1, "min_users": 1, "min_items": 1}}')
    found = features(tmp_path / "features")
    whole = np.load(found / "sequences.npz")
    first = np.flatnonzero(np.diff(whole["user"], prepend=-1))
    np.savez(found / "sequences.npz", **{name: whole[name][first] if name in {"user", "item", "time"} else whole[name] for name in whole})
    with pytest.raises(DataError, match="E204"):
        tune(found, short, "{}", tmp_path / "study", 1, 1)


def diverging(number: int) -> Any:
    """An objective's training that diverges in the trials up to a number."""

    left = [number]

    class Diverging(Training):
        def search(self, state: TrainingState) -> Trained:
            left[0] -= 1
            if left[0] >= 0:
                raise Diverged("the loss is nan", code="E194")
            return super().search(state)

    return Diverging


class Here:
    """A search process that is a function call in this one."""

    exitcode = 0

    def __init__(self, target: Any, args: tuple[Any, ...]) -> None:
        self._run: Callable[[], Any] = partial(target, *args)

    def start(self) -> None:
        self._run()

    def is_alive(self) -> bool:
        return False

    def terminate(self) -> None:
        pass

    join = terminate


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Searches run in this process."""
    context = SimpleNamespace(Process=Here, Value=multiprocessing.Value)
    monkeypatch.setattr(search, "_context", lambda: context)
    monkeypatch.setattr(search, "end_with_starter", lambda: None)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    return monkeypatch


def test_a_trial_that_diverges_has_failed_and_the_search_goes_on(tmp_path: Path, here: pytest.MonkeyPatch) -> None:
    found, quick = features(tmp_path / "features"), override(get_recipe("tiny"), QUICK)
    here.setattr(search, "Training", diverging(1))
    trials = tune(found, quick, QUICK, tmp_path / "study", 2, 1)
    assert [(trial.number, trial.state) for trial in trials] == [(1, "complete"), (0, "diverged")]
    assert (
        json.loads((tmp_path / "study" / BEST).read_text())["model"].items()
        >= {name.removeprefix("model."): value for name, value in trials[0].values.items() if name.startswith("model.")}.items()
    )
    assert "| 0 | 0.0000 | diverged |" in search.table(trials)
    assert len(tune(found, quick, QUICK, tmp_path / "study", 2, 1)) == 2  # it is not tried again


def test_a_search_whose_trials_all_diverge_is_a_coded_error(tmp_path: Path, here: pytest.MonkeyPatch) -> None:
    here.setattr(search, "Training", diverging(9))
    with pytest.raises(Diverged, match=r"E194.*all 2 trials.*learning_rate"):
        tune(features(tmp_path / "features"), override(get_recipe("tiny"), QUICK), QUICK, tmp_path / "study", 2, 1)
    assert not (tmp_path / "study" / BEST).exists()


def test_trials_train_on_the_device_of_the_recipe(tmp_path: Path, here: pytest.MonkeyPatch) -> None:
    used = list[Group]()

    class Seen(Training):
        def __init__(self, features: Any, recipe: Any, group: Group, on_epoch_end: Any) -> None:
            used.append(group)
            super().__init__(features, recipe, Group(), on_epoch_end)

    here.setattr(search, "Training", Seen)
    here.setattr(search, "choose_device", lambda device, _index=0: torch.device("meta" if device == "cuda" else "cpu"))
    recipe = override(override(get_recipe("tiny"), QUICK), '{"train": {"device": "cuda"}}')
    tune(features(tmp_path / "features"), recipe, QUICK, tmp_path / "study", 1, 1)
    assert [group.device.type for group in used] == ["meta"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu_is_said_before_a_search(tmp_path: Path) -> None:
    recipe = override(get_recipe("tiny"), '{"train": {"device": "cuda"}}')
    with pytest.raises(EnvironmentFault, match="E501"):
        tune(features(tmp_path / "features"), recipe, "{}", tmp_path / "study", 1, 1)


def test_trials_of_a_killed_search_do_not_run_for_ever(tmp_path: Path, here: pytest.MonkeyPatch) -> None:
    found, quick = features(tmp_path / "features"), override(get_recipe("tiny"), QUICK)
    tune(found, quick, QUICK, tmp_path / "study", 1, 1)
    study = search._open_study(tmp_path / "study", quick, feature_set.load(found).generation)
    study.ask()
    tune(found, quick, QUICK, tmp_path / "study", 1, 1)
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL"]
