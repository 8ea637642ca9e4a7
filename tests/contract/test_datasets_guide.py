"""docs/datasets.md is run as it stands: of every public dataset from files of its shape to recommendations, with at most three edits."""

import re
from pathlib import Path

import pytest

from cli.main import parser
from docs.generate import datasets
from lodestar.bundle.bundle import load
from lodestar.data.ingest import ingest
from lodestar.data.tables.tables import Tables
from lodestar.engine.recommender import Recommender
from lodestar.features.batch.build import build_features
from lodestar.recipes import get_recipe, load_recipe
from lodestar.training.run import train
from tests.factories import ROOT
from tests.known_datasets.known import KNOWN

GUIDE = ROOT / "docs" / datasets.FILE
MAX_EDITS = 3
REMEDY = "docs/datasets.md does not match the code: run `make docs` and commit what it writes"


@pytest.mark.parametrize("name", KNOWN)
def test_the_commands_say_what_the_page_says(name: str) -> None:
    assert datasets.section(name) in GUIDE.read_text(), REMEDY


def test_the_page_has_its_introduction_and_the_sections_of_all_datasets() -> None:
    content = GUIDE.read_text()
    assert content.startswith(datasets.introduction()), REMEDY
    assert len(re.findall("^## ", content, flags=re.MULTILINE)) == len(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_files_of_its_shape_lead_to_recommendations_with_at_most_three_edits(name: str, tmp_path: Path) -> None:
    assert datasets.num_edits(name) <= MAX_EDITS
    KNOWN[name].write(tmp_path / datasets.DATA)
    (tmp_path / datasets.DECLARATION).write_text(datasets.transcript(name).declaration)
    recipe = load_recipe("popularity", f'{{"data": {{"min_interactions": {get_recipe("tiny").data.min_interactions}}}}}')
    ingest(str(tmp_path / datasets.DECLARATION), tmp_path / "tables")
    build_features(tmp_path / "tables", tmp_path / "features", recipe)
    train(tmp_path / "features", tmp_path / "bundle", recipe, str(tmp_path / "checkpoints"))
    tables = Tables(root=tmp_path / "tables")
    log = tables.events().to_pylist()
    history = [event["item_id"] for event in log if event["user_id"] == log[0]["user_id"]]
    shown = Recommender(load(tmp_path / "bundle")).recommend(history, 5)
    assert len({one.item_id for one in shown} & {item["item_id"] for item in tables.items().to_pylist()}) == 5


def test_the_commands_to_a_model_are_those_of_the_command_line() -> None:
    found = parser().parse_args(datasets.RUN.split()[1:])
    assert (found.recipe, found.force, Path(found.output)) == ("tiny", True, Path("run"))
