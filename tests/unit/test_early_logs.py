"""A log gives the same features, scales, labels and models in any years: 0 is a time as others are, and hours may be negative."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar import schema
from lodestar.config import DataConfig, Recipe
from lodestar.data.split.splits import last_trained
from lodestar.data.tables import tables
from lodestar.features.batch import count_tables
from lodestar.features.batch.build import build_features
from lodestar.models.closed_form.popularity import Popularity
from lodestar.schema.time_units import DAY_US, HOUR_US, MINUTE_US, NEVER
from tests.factories import EPOCH_US, table

RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1, training_rows=300))
DAYS, EVENTS = 40, 600
# The first hours that the contract takes; all before 1970; both sides of it; and 1970 in the first hour.
STARTS_US = {
    "1900": -2_208_988_800_000_000 + HOUR_US,
    "1965": -5 * 365 * DAY_US,
    "across 1970": -20 * DAY_US,
    "1970": 0,
}


def log(start_us: int, *, has_impressions: bool) -> dict[str, pa.Table]:
    """A random shop of DAYS from a time, the same at any."""
    rng = np.random.default_rng(5)
    time_us = start_us + np.sort(rng.integers(HOUR_US, DAYS * DAY_US, EVENTS))
    items = [f"i{n}" for n in range(25)]
    events = table(
        schema.EVENTS,
        event_id=[f"e{n}" for n in range(EVENTS)],
        user_id=[f"u{n}" for n in rng.integers(0, 30, EVENTS)],
        item_id=rng.choice(items, EVENTS).tolist(),
        event_type=rng.choice(["view", "click", "purchase", "search", "rating"], EVENTS).tolist(),
        query_text=[["lamp", "red lamp"][n % 2] for n in range(EVENTS)],
        rating=rng.integers(1, 6, EVENTS).astype(float).tolist(),
        event_time=time_us.tolist(),
        ingested_at=(time_us + rng.integers(0, 90 * MINUTE_US, EVENTS)).tolist(),
        request_id=[f"r{n}" for n in range(EVENTS)],
    )
    begins_us = [start_us] * len(items)
    catalogue = table(schema.ITEMS, item_id=items, title=items, created_at=begins_us, updated_at=begins_us, ingested_at=begins_us)
    shown = table(
        schema.IMPRESSIONS,
        request_id=[f"r{n}" for n in range(EVENTS)],
        user_id=events[schema.USER_ID].to_pylist(),
        item_id=events[schema.ITEM_ID].to_pylist(),
        position=[1] * EVENTS,
        shown_at=(time_us - MINUTE_US).tolist(),
    )
    return {"events": events, "items": catalogue} | ({"impressions": shown} if has_impressions else {})


def write_log(folder: Path, start_us: int, *, has_impressions: bool = False) -> Path:
    folder.mkdir(parents=True)
    tables.write(log(start_us, has_impressions=has_impressions), folder)
    return folder


def times_since(start_us: int, content: pa.Table) -> dict[str, list[Any]]:
    """The columns of a table, its times in µs since a time."""
    found = {}
    for name in content.column_names:
        column = content[name].combine_chunks()
        is_time = pa.types.is_timestamp(column.type)
        found[name] = [time - start_us for time in column.cast(pa.int64()).to_pylist()] if is_time else column.to_pylist()
    return found


@pytest.mark.parametrize("has_impressions", [True, False])
@pytest.mark.parametrize("start_us", STARTS_US.values(), ids=STARTS_US)
def test_features_are_the_same_in_whatever_years_the_log_lies(tmp_path: Path, start_us: int, has_impressions: bool) -> None:
    features = {}
    for begins_us in (EPOCH_US, start_us):
        features[begins_us] = tmp_path / f"features {begins_us}"
        source = write_log(tmp_path / f"tables {begins_us}", begins_us, has_impressions=has_impressions)
        build_features(source, features[begins_us], RECIPE)
    scales = [json.loads((folder / "scalers.json").read_text()) for folder in features.values()]
    assert scales[0] == scales[1]
    files = sorted(path.name for path in (features[EPOCH_US] / "data").iterdir())
    assert {"item_stats.parquet", "labels.parquet", "ratings.parquet", "query_stats.parquet"} <= {*files}
    for file in files:
        expected, found = (times_since(begins_us, pq.read_table(folder / "data" / file)) for begins_us, folder in features.items())
        assert found == expected, file


def test_hours_before_1970_are_kept_as_they_are(tmp_path: Path) -> None:
    hours = np.array([-600_000, -300, -129, -128, -1, 0, 255, 65_536, 600_000])
    for values in (hours, hours[:2], hours[2:4], hours[4:7], hours[5:], hours[:0]):
        with (tmp_path / "file").open("wb") as content:
            count_tables._append(content, [values])
        assert np.load(tmp_path / "file").tolist() == values.tolist()


def test_the_last_training_time_may_lie_before_1970() -> None:
    user, time_us = np.array([0, 0, 0, 0, 1], dtype=np.int32), np.array([-50, -40, -30, -20, -45])
    assert last_trained(user, time_us) == -40
    assert last_trained(user[:0], time_us[:0]) == NEVER


def test_popularity_has_the_age_before_the_last_interaction_in_any_year() -> None:
    rows, ages = [np.array([0, 1, 2], dtype=np.int32)], np.array([-9, -4, 0]) * DAY_US
    for model in (Popularity(window_days=5), Popularity(half_life_days=3)):
        found = [model.fit(rows, 3, times_us=[last + ages]).counts.tolist() for last in (EPOCH_US, 0, -1_000 * DAY_US)]
        assert found[0] == found[1] == found[2]
