"""A seeded run of seconds ends with the figures that it always ended with: what changes them says so, and says why.

Updated only with a reason in the commit. The tolerance is what another processor's order of additions may do.
"""

from pathlib import Path

import pytest

from lodestar.data.ingest import ingest
from lodestar.evaluation.run import evaluate
from lodestar.features.batch.build import build_features
from lodestar.recipes import load_recipe
from lodestar.training.run import train

SHOP = "simulator:users=120,items=60,events=4000,days=20,seed=7"
OVERRIDES = (
    '{"data": {"split": "time"}, "train": {"item_init": "cooccurrence", "epochs": 4, "patience": 4}, "model": {"num_neighbours": 60}}'
)
MODEL, TOLERANCE = 0.3492, 0.01
BASELINES = {"popularity": 0.15655, "item_knn": 0.32887, "ease": 0.32082, "cooccurrence": 0.33382}


def test_a_seeded_run_ends_with_the_figures_it_always_had(tmp_path: Path) -> None:
    recipe = load_recipe("tiny", OVERRIDES)
    ingest(SHOP, tmp_path / "tables")
    build_features(tmp_path / "tables", tmp_path / "features", recipe)
    train(tmp_path / "features", tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    found = evaluate(tmp_path / "features", tmp_path / "bundle", tmp_path / "evaluation", recipe).headline()
    assert found["ndcg_at_10"] == pytest.approx(MODEL, abs=TOLERANCE)
    for name, value in BASELINES.items():
        assert found[f"{name}_ndcg_at_10"] == pytest.approx(value, abs=1e-4)
