"""Labels of a built feature set know nothing of what a user does from the own validation item on, whoever goes on longer."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.config import DataConfig, Recipe
from lodestar.data.ingest import ingest
from lodestar.features.batch import feature_set
from lodestar.features.batch.build import build_features
from lodestar.schema.feedback import BINARY
from tests.factories import declare

SHOP = "simulator:users=80,items=40,events=4000,days=30,seed=2"
TASKS = (schema.LABEL, schema.BOUGHT, schema.COMPLETED)


@pytest.mark.parametrize("has_impressions", [True, False])
def test_no_held_out_item_is_a_positive_and_some_are_negatives(tmp_path: Path, has_impressions: bool) -> None:
    recipe = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1))
    ingest(SHOP, tmp_path / "tables")
    declare(tmp_path / "tables", BINARY)
    if not has_impressions:
        for file in (tmp_path / "tables" / "impressions").rglob("*.parquet"):
            pq.write_table(pq.read_table(file).slice(0, 0), file)
    build_features(tmp_path / "tables", tmp_path / "features", recipe)
    features = feature_set.load(tmp_path / "features")
    cut = features.split(recipe.data)
    users, items = features.interactions.users, features.items.ids
    held_out = {
        (users[user], items[item])
        for cases in (cut.validation, cut.test)
        for user, relevant in zip(cases.user, cases.relevant, strict=True)
        for item in relevant
    }
    rows: list[dict[str, Any]] = pq.read_table(tmp_path / "features" / "data" / "labels.parquet").to_pylist()
    theirs = [row for row in rows if (row[schema.USER_ID], row[schema.ITEM_ID]) in held_out]
    assert rows
    assert theirs
    assert not [row for row in theirs if any(row[task] for task in TASKS)]
    end_us = {users[user]: int(time) for user, time in zip(cut.validation.user, cut.validation.cutoff_us, strict=True)}
    assert all(row[schema.FEATURE_TIME].timestamp() * 1e6 <= end_us.get(row[schema.USER_ID], 1 << 62) for row in rows)
