"""The same data, recipe and seed give the same bundle; where that takes as many threads, the model card says so and how many there were."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lodestar.bundle import bundle
from lodestar.bundle.bundle import COST
from lodestar.config import override
from lodestar.evaluation.evaluator import _bundle_summary
from lodestar.evaluation.report.card import THREADLESS, card
from lodestar.recipes import get_recipe
from lodestar.training.run import train
from tests.cycles import features
from tests.factories import small_bundle
from tests.unit.test_report import evaluation

SMALL = '{"data": {"min_users": 1, "min_items": 1, "min_interactions": 1}, "model": {"dim": 8}}'


@pytest.mark.parametrize("family", THREADLESS)
def test_what_is_only_counted_is_the_same_whatever_the_threads(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(tmp_path / "features")
    for threads in ("1", "4"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        train(found, tmp_path / threads, override(get_recipe(family), SMALL), str(tmp_path / "checkpoints"))
    assert bundle.load(tmp_path / "1").digest == bundle.load(tmp_path / "4").digest
    assert [json.loads((tmp_path / threads / COST).read_text())["threads"] for threads in ("1", "4")] == [1, 4]


def test_the_card_says_with_how_many_threads_a_bundle_is_had_again() -> None:
    found = evaluation()
    trained, counted = (
        replace(found, bundle=replace(found.bundle, family=name, threads=2, workers=1, ranked=0)) for name in ("sasrec", "item_knn_jaccard")
    )
    assert "with the same number of threads (OMP_NUM_THREADS=2, and 1 workers) on the same kind of processor" in card(trained)
    assert "| threads | 2 in each of 1 workers |" in card(trained)
    assert "the same bundle with any number of threads" in card(counted)


@pytest.mark.parametrize(("text", "threads"), [('{"threads": 3, "workers": 2}', 3), ('{"threads": "3"}', 0), ("[]", 0), ("{", 0)])
def test_what_lies_beside_a_bundle_may_be_anything(tmp_path: Path, text: str, threads: int) -> None:
    root = small_bundle(tmp_path / "bundle")
    (root / COST).write_text(text)
    assert _bundle_summary(bundle.load(root)).threads == threads
