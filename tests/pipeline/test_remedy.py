"""What the gate says of a model that only its compression makes lose: typed as it is printed, it leads to one that passes."""

import re
import shlex
from pathlib import Path

import pytest

from cli.main import main
from lodestar.compression.run import compress
from lodestar.config import Recipe
from lodestar.data.ingest import ingest
from lodestar.evaluation.gate import Verdict, read_verdict
from lodestar.evaluation.run import evaluate
from lodestar.features.batch.build import build_features
from lodestar.recipes import load_recipe, merge_overrides
from lodestar.training.run import train

# Almost any loss is accepted: the smallest variant goes out.
LOSES = [
    "--overrides",
    '{"evaluation": {"bootstrap_samples": 50}}',
    "--overrides",
    '{"compression": {"max_ndcg_drop": 0.99, "latency_requests": 2}}',
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remedy")
    ingest("simulator:users=60,items=40,events=5000", folder / "tables")
    build_features(folder / "tables", folder / "features", typed(LOSES))
    train(folder / "features", folder / "bundle", typed(LOSES), str(folder / "checkpoints"))
    return folder


def typed(options: list[str]) -> Recipe:
    """The recipe of a run with these options."""
    return load_recipe("cooccurrence", merge_overrides(options[1::2]))


def verdict(trained: Path, options: list[str], target: Path) -> Verdict:
    """What the gate says at the end of the run."""
    recipe = typed(options)
    compress(trained / "features", trained / "bundle", target / "compressed", recipe)
    evaluate(trained / "features", target / "compressed", target / "evaluation", recipe, uncompressed=trained / "bundle")
    return read_verdict(target / "evaluation")


def test_the_remedy_of_the_gate_leads_to_a_model_that_passes(trained: Path, tmp_path: Path) -> None:
    refused = verdict(trained, LOSES, tmp_path / "first")
    remedy = re.search(r"and would pass: run again with (--overrides '.*')\.$", refused.reason)
    assert remedy, refused.reason
    options = [*LOSES, *shlex.split(remedy[1])]
    assert typed(options).evaluation == typed(LOSES).evaluation
    assert verdict(trained, options, tmp_path / "second").passes


def test_a_command_takes_overrides_beside_others(capsys: pytest.CaptureFixture[str]) -> None:
    """The first of these is refused, though another follows; so none is passed over."""
    assert main(["run", "--overrides", '{"model": {"dim": "no"}}', "--overrides", '{"compression": {"max_ndcg_drop": 0}}']) == 2
    assert "dim" in capsys.readouterr().err
    assert main(["run", "--overrides", "[]", "--overrides", "{}"]) == 2
    assert "overrides must be a JSON object" in capsys.readouterr().err
