"""Feast registers the definitions, keeps every row, and joins only what was known."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_repo import store
from lodestar import schema
from lodestar.schema import crosses
from lodestar.schema.store_keys import TRAINING_SET
from lodestar.schema.time_units import HOUR_S, SECOND_US
from tests.contract.conftest import publish
from tests.factories import EPOCH_US
from tests.unit.test_features import built

REPOSITORY = Path(__file__).parents[2] / "feature_repo"
MARK = "----"
BASE = datetime.fromtimestamp(EPOCH_US // SECOND_US, UTC)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rows = [(f"u{rng.integers(6)}", f"i{rng.integers(20)}", int(rng.integers(72 * HOUR_S))) for _ in range(200)]
    folder = built(tmp_path_factory.mktemp("features"), rows, lag_s=90)
    publish(folder)
    return folder


def test_feast_apply_registers_every_definition_and_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    repository = shutil.copytree(REPOSITORY, tmp_path / "repository", ignore=shutil.ignore_patterns("online", "data", "__pycache__"))
    first, applied, _, last = typed(repository, "plan", "apply", "apply", "plan")
    for name in (definition.name for definition in store.definitions()):
        assert f" {name}\n" in first
    assert f"Deploying infrastructure for {schema.USER_ACTIVITY_VIEW}\n" in applied
    assert "No changes to registry\nNo changes to infrastructure\n" in last


def typed(repository: Path, *commands: str) -> list[str]:
    """What `feast` says to each command typed in the folder; one process gives all of them, since importing Feast takes ten seconds."""
    program = f"""
import sys
from feast.cli.cli import cli
sys.argv[0] = "feast"
for command in {commands!r}:
    print("{MARK}")
    cli([command], standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return done.stdout.split(f"{MARK}\n")[1:]


def test_the_training_set_has_every_label_once(features: Path) -> None:
    labels = pd.read_parquet(features / "data" / "labels.parquet")
    joined = pd.read_parquet(features / TRAINING_SET)
    assert joined["row_id"].tolist() == labels["row_id"].tolist()
    assert joined[schema.LABEL].tolist() == labels[schema.LABEL].tolist()
    counts = [one.name for view in (schema.USER_ACTIVITY_VIEW, schema.ITEM_STATS_VIEW) for one in schema.VIEWS[view].counts]
    assert joined.columns.tolist() == [*labels.columns, *counts, *crosses.NAMES]  # and nothing personal that a cross is made from


def test_the_join_equals_an_independent_as_of_join_of_what_was_known(features: Path) -> None:
    joined = pd.read_parquet(features / TRAINING_SET)
    activity = pd.read_parquet(features / "data" / f"{schema.USER_ACTIVITY_VIEW}.parquet")
    for row in joined.to_dict("records"):
        assert _same(row["events_1d"], _known(activity, row)), row


def _known(activity: pd.DataFrame, row: dict[Any, Any]) -> float:
    """The newest row of the user whose time and knowing both lie before the time."""
    timestamp = row[schema.FEATURE_TIME]
    own = activity[activity[schema.USER_ID] == row[schema.USER_ID]]
    own = own[(own[schema.FEATURE_TIME] <= timestamp) & (own[schema.KNOWN_TIME] <= timestamp)]
    return float(own.sort_values(schema.FEATURE_TIME)["events_1d"].iloc[-1]) if len(own) else 0.0  # the declared default


def _same(ours: float, theirs: float) -> bool:
    return bool(np.isclose(ours, theirs))


def test_online_and_offline_give_a_user_the_same_sequence(features: Path) -> None:
    offline = pd.read_parquet(features / "data" / f"{schema.USER_SEQUENCE_VIEW}.parquet").set_index(schema.USER_ID)
    users = offline.index.tolist()
    with store.opened(features) as found:
        service = found.get_feature_service(schema.RETRIEVAL_SERVICE)
        answer = found.get_online_features(features=service, entity_rows=[{schema.USER_ID: user} for user in users]).to_dict()
    assert answer[schema.RECENT_ITEMS] == [list(items) for items in offline[schema.RECENT_ITEMS]]


def test_a_row_that_became_known_later_is_not_joined(features: Path) -> None:
    user = pd.read_parquet(features / "data" / f"{schema.USER_ACTIVITY_VIEW}.parquet")[schema.USER_ID].iloc[0]
    long_before = pd.DataFrame(
        {
            "row_id": [1, 2],
            schema.USER_ID: [user, user],
            schema.ITEM_ID: ["i1", "i1"],
            schema.FEATURE_TIME: pd.to_datetime([BASE - timedelta(days=1)] * 2).astype("datetime64[us, UTC]"),
            schema.LABEL: [0, 1],
        }
    )
    with store.opened(features) as found:
        joined = store.join(found, long_before)
    assert joined["events_1d"].tolist() == [0.0, 0.0]
    assert joined["heat"].tolist() == [0.0, 0.0]


def test_a_cross_is_the_same_in_the_training_set_and_online(features: Path) -> None:
    """Of every user and item, as all that is known now gives it, and as the function gives it alone."""
    views = {
        view: pd.read_parquet(features / "data" / f"{view}.parquet").sort_values(schema.FEATURE_TIME).groupby(key).last()
        for view, key in ((schema.USER_ACTIVITY_VIEW, schema.USER_ID), (schema.ITEM_STATS_VIEW, schema.ITEM_ID))
    }
    pairs = [{schema.USER_ID: user, schema.ITEM_ID: item} for user in ("u0", "u3", "nobody") for item in ("i1", "i7", "nothing")]
    asked = pd.DataFrame(
        [{**pair, schema.FEATURE_TIME: datetime.now(UTC), "row_id": place, schema.LABEL: 0} for place, pair in enumerate(pairs)]
    )
    with store.opened(features) as found:
        online = store.read_online(found, schema.RANK_SERVICE, pairs).values
        joined = store.join(found, asked)
    for place, pair in enumerate(pairs):
        known: dict[str, Any] = dict.fromkeys(crosses.INPUTS)
        for view, key in ((schema.USER_ACTIVITY_VIEW, schema.USER_ID), (schema.ITEM_STATS_VIEW, schema.ITEM_ID)):
            if pair[key] in views[view].index:
                known |= {name: value for name, value in views[view].loc[pair[key]].items() if name in known}
        alone = crosses.crosses(known)
        for name in crosses.NAMES:
            assert online[name][place] == joined[name][place] == alone[name], (pair, name)
