"""The search for hyperparameters: on the validation items alone, resumable, in several processes."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from lodestar.config import override
from lodestar.errors import DataError, UsageError
from lodestar.recipes import get_recipe
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
