"""A seeded run of seconds ends with the figures that it always ended with: what changes them says so, and says why.

Updated only with a reason in the commit. The tolerance is what another processor's order of additions may do.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from lodestar.data.ingest import ingest
from lodestar.evaluation.run import evaluate
from lodestar.features.batch.build import build_features
from lodestar.recipes import load_recipe
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.training.run import train
from tests.factories import declare

SHOP = "simulator:users=120,items=60,events=4000,days=20,seed=7"
OVERRIDES = (
    '{"data": {"split": "time"}, "train": {"item_init": "cooccurrence", "epochs": 4, "patience": 4}, "model": {"num_neighbours": 60}}'
)
TOLERANCE = 0.01
# With refit the baselines know the validation items too, as the model does.
BINARY_BASELINES = {"popularity": 0.13648, "item_knn": 0.32292, "ease": 0.31068, "cooccurrence": 0.31424}
BINARY_REFIT_BASELINES = {"popularity": 0.15608, "item_knn": 0.33045, "ease": 0.32082, "cooccurrence": 0.33399}
# A view does not make an item seen, so most of the shop is ranked for everyone, and purchases weigh.
DEFAULT_BASELINES = {"popularity": 0.11692, "item_knn": 0.17721, "ease": 0.15218, "cooccurrence": 0.1851}


@pytest.mark.parametrize(
    ("rules", "refit", "model", "baselines"),
    [
        (BINARY, False, 0.3492, BINARY_BASELINES),
        (BINARY, True, 0.3683, BINARY_REFIT_BASELINES),
        (Feedback(), False, 0.2044, DEFAULT_BASELINES),
    ],
    ids=["binary", "binary, refit", "default"],
)
def test_a_seeded_run_ends_with_the_figures_it_always_had(
    tmp_path: Path, rules: Feedback, refit: bool, model: float, baselines: dict[str, float]
) -> None:
    recipe = load_recipe("tiny", OVERRIDES)
    recipe = replace(recipe, train=replace(recipe.train, refit=refit))
    ingest(SHOP, tmp_path / "tables")
    declare(tmp_path / "tables", rules)
    build_features(tmp_path / "tables", tmp_path / "features", recipe)
    train(tmp_path / "features", tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    found = evaluate(tmp_path / "features", tmp_path / "bundle", tmp_path / "evaluation", recipe).headline()
    assert found["ndcg_at_10"] == pytest.approx(model, abs=TOLERANCE)
    for name, value in baselines.items():
        assert found[f"{name}_ndcg_at_10"] == pytest.approx(value, abs=1e-4)
