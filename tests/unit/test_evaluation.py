"""A whole evaluation of a small bundle: what is written, what it says, and when it refuses to evaluate."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lodestar.bundle import bundle
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import DataConfig, Recipe, override
from lodestar.data.split.interactions import Interactions
from lodestar.errors import DataError, UsageError
from lodestar.evaluation import fitted_baselines
from lodestar.evaluation.gate import EVALUATION, read_verdict
from lodestar.evaluation.report.report_data import tail
from lodestar.evaluation.run import CARD, HEADLINE, REPORT, evaluate
from lodestar.features.batch import feature_set
from lodestar.models.closed_form import ease
from tests.factories import small_bundle

NUM_ITEMS, NUM_USERS, LENGTH = 12, 30, 6
RECIPE = override(Recipe(name="tiny", data=DataConfig()), '{"evaluation": {"bootstrap_samples": 50}}')


def walkers(folder: Path) -> Path:
    """Features in which all walk round the catalogue, side by side; items are in two categories."""
    ids = [f"i{row}" for row in range(NUM_ITEMS)]
    user = np.repeat(np.arange(NUM_USERS, dtype=np.int32), LENGTH)
    place = np.tile(np.arange(LENGTH, dtype=np.int64), NUM_USERS)
    item = ((user + place) % NUM_ITEMS).astype(np.int32)
    users = [f"secret-user-{row}" for row in range(NUM_USERS)]
    log = Interactions(users=users, items=ids, user=user, item=item, time=place * NUM_USERS + user)
    titles, categories = [f"<b>Item {row}</b>" for row in range(NUM_ITEMS)], ["a|b" if row % 2 else "" for row in range(NUM_ITEMS)]
    folder.mkdir()
    feature_set.save(log, Catalogue(ids=ids, titles=titles, categories=categories, is_active=np.ones(NUM_ITEMS, dtype=bool)), folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    features = walkers(folder / "features")
    return features, small_bundle(folder / "bundle", num_items=NUM_ITEMS, features=feature_set.load(features).generation)


@pytest.fixture(scope="module")
def written(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("evaluation") / "evaluation"
    evaluate(*inputs, target, RECIPE)
    return target


def test_four_files_are_left(written: Path) -> None:
    assert {file.name for file in written.iterdir()} == {EVALUATION, HEADLINE, CARD, REPORT}
    assert json.loads((written / HEADLINE).read_text())["passes"] in {0.0, 1.0}


def test_no_user_is_named(written: Path) -> None:
    assert not any("secret-user" in file.read_text() for file in written.iterdir())


def test_the_same_input_gives_the_same_bytes(inputs: tuple[Path, Path], written: Path, tmp_path: Path) -> None:
    evaluate(*inputs, tmp_path / "again", RECIPE)
    for name in (EVALUATION, REPORT, CARD):
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()


def test_the_figures_hold_all_that_a_reader_may_ask_for(inputs: tuple[Path, Path], written: Path) -> None:
    found = json.loads(written.joinpath(EVALUATION).read_text())
    assert set(found["models"]) == {"model", "popularity", "item_knn", "ease", "cooccurrence"}
    assert found["bundle"]["digest"] == bundle.load(inputs[1]).digest
    assert (found["protocol"]["users"], found["protocol"]["left_out"], found["protocol"]["items"]) == (NUM_USERS, 0, NUM_ITEMS)
    assert found["recipe"]["name"] == "tiny"
    assert set(found["models"]["model"]["metrics"]["ndcg_at_10"]) == {"value", "low", "high"}
    assert {entry["by"].split(" ")[0] for entry in found["slices"]} == {"items", "popularity", "category"}


def test_slices_of_one_kind_hold_every_user_once(written: Path) -> None:
    found = json.loads(written.joinpath(EVALUATION).read_text())["slices"]
    for kind in {entry["by"] for entry in found}:
        assert sum(entry["users"] for entry in found if entry["by"] == kind) == NUM_USERS


def test_cooccurrence_foresees_a_walk_and_the_untrained_bundle_is_refused(written: Path) -> None:
    found = json.loads(written.joinpath(EVALUATION).read_text())
    assert found["models"]["cooccurrence"]["metrics"]["hr_at_5"]["value"] == 1
    assert found["best_baseline"] == "cooccurrence"
    assert found["verdict"]["passes"] is False
    assert not read_verdict(written).passes


def test_the_headline_is_flat_and_named_as_the_pipeline_shows_it(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    headline = evaluate(*inputs, tmp_path / "out", RECIPE).headline()
    assert headline["users"] == NUM_USERS
    assert headline["ndcg_at_10_low"] <= headline["ndcg_at_10"] <= headline["ndcg_at_10_high"]
    lead = headline["ndcg_at_10"] - headline["cooccurrence_ndcg_at_10"]
    assert headline["ndcg_at_10_lead"] == pytest.approx(lead)
    assert {"hr_at_10", "coverage_at_10", "popularity_ndcg_at_10", "passes"} <= set(headline)
    assert all(isinstance(value, float) for value in headline.values())


def test_what_goes_out_is_evaluated_beside_what_it_was_made_from(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    features, full = inputs
    small = small_bundle(tmp_path / "small", num_items=NUM_ITEMS, features=feature_set.load(features).generation, precision="int4")
    found = evaluate(features, small, tmp_path / "out", RECIPE, uncompressed=full)
    assert found.models["model"].metrics == evaluate(features, small, tmp_path / "small-alone", RECIPE).model.metrics
    assert found.models["uncompressed"].metrics == evaluate(features, full, tmp_path / "full-alone", RECIPE).model.metrics
    assert "uncompressed" not in found.baselines()
    assert (found.bundle.digest, found.uncompressed.digest) == (bundle.load(small).digest, bundle.load(full).digest)
    assert found.headline()["ndcg_at_10_uncompressed"] == found.models["uncompressed"].metrics["ndcg_at_10"].value
    for name in (REPORT, CARD):
        written = tmp_path.joinpath("out", name).read_text()
        assert found.bundle.digest in written
        assert found.uncompressed.digest in written


def test_a_bundle_that_was_left_as_it_was_is_ranked_once(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    found = evaluate(*inputs, tmp_path / "out", RECIPE, uncompressed=inputs[1])
    assert "uncompressed" not in found.models
    assert found.headline()["ndcg_at_10_uncompressed"] == found.headline()["ndcg_at_10"]


def test_ten_is_among_the_cutoffs_always(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    found = evaluate(*inputs, tmp_path / "out", override(RECIPE, '{"evaluation": {"cutoffs": [3]}}'))
    assert found.protocol.cutoffs == (3, 10)


def test_ease_is_left_out_of_a_large_catalogue_and_that_is_said(
    inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ease, "MAX_CATALOGUE_SIZE", NUM_ITEMS - 1)
    found = evaluate(*inputs, tmp_path / "out", RECIPE)
    assert "ease" not in found.models
    for name in (REPORT, CARD):
        assert "12 items are more than 11" in tmp_path.joinpath("out", name).read_text()


def test_the_regularisation_is_the_best_on_the_validation_items(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    found = evaluate(*inputs, tmp_path / "out", RECIPE)
    assert found.models["ease"].hyperparameters.endswith("chosen on the validation set; solved on cpu")
    assert float(found.models["ease"].hyperparameters.split()[1].rstrip(",")) in ease.REGULARISATIONS


def test_a_bundle_of_other_features_is_refused(tmp_path: Path) -> None:
    other = small_bundle(tmp_path / "bundle", num_items=NUM_ITEMS)
    with pytest.raises(UsageError, match="was trained on features 0000"):
        evaluate(walkers(tmp_path / "features"), other, tmp_path / "out", RECIPE)
    assert not (tmp_path / "out").exists()


def test_a_log_that_leaves_no_test_case_is_an_error(tmp_path: Path) -> None:
    ids = [f"i{row}" for row in range(NUM_ITEMS)]
    user = np.arange(NUM_ITEMS, dtype=np.int32)
    alone = Interactions(users=ids, items=ids, user=user, item=user, time=np.zeros(NUM_ITEMS, dtype=np.int64))
    feature_set.save(alone, Catalogue(ids=ids, titles=ids, categories=ids, is_active=np.ones(NUM_ITEMS, dtype=bool)), tmp_path)
    source = small_bundle(tmp_path / "bundle", num_items=NUM_ITEMS, features=feature_set.load(tmp_path).generation)
    with pytest.raises(DataError, match="E204"):
        evaluate(tmp_path, source, tmp_path / "out", RECIPE)


def test_a_split_by_time_is_evaluated_on_every_item_of_the_window(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = replace(RECIPE, data=DataConfig(split="time", test_share=0.2, validation_share=0.2))
    found = evaluate(*inputs, tmp_path / "out", recipe)
    assert found.protocol.split == "time"
    assert (found.protocol.users, found.protocol.left_out) == (NUM_USERS, 0)
    metrics = found.models["popularity"].metrics
    assert metrics["recall_at_5"].value < metrics["hr_at_5"].value


def test_the_longest_tail_is_a_straight_line_where_all_are_shown_alike() -> None:
    assert tail(np.full(10, 3), np.arange(10)) == pytest.approx(np.linspace(0, 1, 101))


def test_the_most_popular_item_comes_first_in_the_tail() -> None:
    assert tail(np.array([0, 5]), np.array([1, 9]))[50] == 1


def test_a_catalogue_within_bounds_skips_nobody() -> None:
    assert fitted_baselines.skipped_baselines(ease.MAX_CATALOGUE_SIZE) == {}
