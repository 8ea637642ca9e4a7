"""A log that no split can evaluate is refused before training, and the split that helps is named and does help."""

import json
import re
import shlex
from pathlib import Path

import pytest

from lodestar.config import DataConfig, Recipe, override
from lodestar.data.ingest import ingest
from lodestar.data.split.evaluable import check_evaluable
from lodestar.errors import DataError
from lodestar.features.batch.build import build_features
from lodestar.recipes import get_recipe
from lodestar.schema.feedback import BINARY
from tests.factories import events, interactions, items

RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1))


def refusal(*rows: tuple[str, str, int], recipe: Recipe = RECIPE) -> str:
    log = interactions(events(*rows), items("a", "b", "c", "d"))
    try:
        check_evaluable(log, recipe.data, BINARY)
    except DataError as error:
        return str(error)
    return ""


def test_three_interactions_of_one_user_are_enough() -> None:
    assert refusal(("u", "a", 1), ("u", "b", 2), ("u", "c", 3)) == ""


def test_one_event_each_is_refused_with_the_truth_that_nothing_helps() -> None:
    found = refusal(*((f"u{user}", "abcd"[user % 4], user) for user in range(20)))
    assert found.startswith("E204")
    assert "each user has one interaction. No split helps" in found


def test_too_small_a_log_of_one_event_each_is_not_told_to_lower_the_minimum(tmp_path: Path) -> None:
    rows = [f"u{user},i{user % 3},view,2026-01-0{user + 1}T00:00:00Z" for user in range(5)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,event_type,event_time", *rows]))
    ingest(str(tmp_path / "events.csv"), tmp_path / "tables")
    with pytest.raises(DataError, match=r"E204 .*No split helps"):
        build_features(tmp_path / "tables", tmp_path / "features", get_recipe("sasrec"))


@pytest.mark.parametrize("split", ["leave_one_out", "time"])
def test_the_split_that_is_named_gives_test_users(split: str) -> None:
    """Two interactions each need a split by time; users who never come back after its cutoff need leave-one-out."""
    recipe = override(RECIPE, json.dumps({"data": {"split": split, "test_share": 0.05, "validation_share": 0.05}}))
    two_each = [(f"u{user}", item, 100 * place + user) for user in range(20) for place, item in enumerate("ab")]
    never_back = [("u", "a", 1), ("u", "b", 2), ("u", "c", 3), *((f"n{user}", "d", 100 + user) for user in range(40))]
    rows = two_each if split == "leave_one_out" else never_back
    found = refusal(*rows, recipe=recipe)
    typed = re.search(r"--overrides '.*}'", found)
    assert typed, found
    assert refusal(*rows, recipe=override(recipe, shlex.split(typed[0])[1])) == ""
