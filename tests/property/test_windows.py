"""One declaration, three forms, one value: whatever the order in which events happen and become known."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lodestar import schema
from lodestar.features import taken, windows
from lodestar.features.windows import HOUR_US, Stream, scaled
from tests.factories import EPOCH_US

FEATURES = [feature for feature in schema.WINDOWED if feature.view == schema.USER_ACTIVITY_VIEW]
STAMP = pa.timestamp("us", tz="UTC")
# (user, when it happened, how late it became known), in a grid that makes ties and hours' ends likely.
EVENT = some.tuples(
    some.sampled_from("uv"),
    some.integers(0, 40).map(lambda place: place * HOUR_US // 2) | some.integers(0, 800 * HOUR_US),
    some.sampled_from([0, 0, 1, HOUR_US // 2, HOUR_US, 30 * HOUR_US]) | some.integers(0, 900 * HOUR_US),
)
Event = tuple[str, int, int]
Row = dict[str, Any]
NOBODY = {feature.name: 0.0 for feature in FEATURES}


def tables(events: Sequence[Event]) -> tuple[list[Row], list[Row], dict[str, float]]:
    """Raw counts, what a model is given, and the fitted scale."""
    columns = {
        schema.USER_ID: pa.array([user for user, _, _ in events]),
        schema.EVENT_TIME: pa.array([EPOCH_US + time for _, time, _ in events], STAMP),
        schema.INGESTED_AT: pa.array([EPOCH_US + time + late for _, time, late in events], STAMP),
        schema.ITEM_ID: pa.array(["i"] * len(events)),
        schema.EVENT_TYPE: pa.array(["view"] * len(events)),
        "file_row_number": pa.array(range(len(events))),
    }
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'; CREATE TABLE items AS SELECT 'i' AS item_id, 0 AS file_row_number")
        database.register("positive", pa.table(columns))
        taken.encode(database, Path(folder))
        view = windows.count(database, FEATURES)
        most = windows.largest(database, FEATURES, 1 << 62)
        moment = f"make_timestamptz(hour::BIGINT * {HOUR_US}) AS {schema.FEATURE_TIME}"
        raw = f"SELECT {schema.USER_ID}, {view}.*, {moment} FROM {view} JOIN user_rows ON entity = user_row ORDER BY hour"
        counts, given = (database.execute(query).to_arrow_table().to_pylist() for query in (raw, windows.scaled_rows(FEATURES, most)))
    return counts, given, most


def as_of(rows: Sequence[Row], moment: int, nobody: dict[str, float] = NOBODY) -> dict[str, dict[str, float]]:
    """By user, what a point-in-time join finds."""
    known = [row for row in rows if row[schema.FEATURE_TIME].timestamp() * 1e6 <= EPOCH_US + moment]
    latest = {row[schema.USER_ID]: {feature.name: row[feature.name] for feature in FEATURES} for row in known}
    return {user: latest.get(user, nobody) for user in "uv"}


def stream(events: Sequence[Event], now: Sequence[int], most: dict[str, float]) -> list[dict[str, dict[str, float]]]:
    """The same, event after event in the order in which they became known."""
    state, waiting, found = Stream(FEATURES), sorted(events, key=lambda event: event[1] + event[2]), []
    for moment in now:
        while waiting and waiting[0][1] + waiting[0][2] <= moment:
            user, time, late = waiting.pop(0)
            state.add(user, EPOCH_US + time, EPOCH_US + time + late)
        found.append(
            {user: {name: float(value) for name, value in scaled(state.count(user, EPOCH_US + moment), most).items()} for user in "uv"}
        )
    return found


@settings(max_examples=100)
@given(events=some.lists(EVENT, min_size=1, max_size=25), now=some.lists(some.integers(0, 1700 * HOUR_US), min_size=1, max_size=8))
def test_the_three_forms_are_equal(events: list[Event], now: list[int]) -> None:
    now = sorted({*now, *(time + late for _, time, late in events)})
    counts, given, most = tables(events)
    assert all(row[feature.name] >= 0 for row in counts for feature in FEATURES)
    assert stream(events, now, most) == [as_of(given, moment) for moment in now]


@settings(max_examples=100)
@given(
    events=some.lists(EVENT, min_size=1, max_size=15),
    later=some.lists(EVENT, min_size=1, max_size=8),
    moment=some.integers(0, 900 * HOUR_US),
)
def test_nothing_that_becomes_known_later_changes_what_is_found_now(events: list[Event], later: list[Event], moment: int) -> None:
    """The metamorphic rule, on raw counts: the scale is fitted on the whole training window."""
    added = [(user, time, max(late, moment + 1 - time)) for user, time, late in later]
    before, after = (tables(log)[0] for log in (events, [*events, *added]))
    assert as_of(before, moment) == as_of(after, moment)


def test_the_order_of_declarations_is_of_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the documents say of a new feature: a line at the end, with a window that lies between others."""
    declared = [*FEATURES, replace(FEATURES[0], name="events_3d", window_h=72)]
    monkeypatch.setitem(globals(), "FEATURES", declared)
    events, now = [("u", 0, 0), ("u", 30 * HOUR_US, 50 * HOUR_US), ("v", 5 * HOUR_US, 3)], [hour * HOUR_US for hour in range(0, 800, 7)]
    _, given, most = tables(events)
    nobody = {feature.name: 0.0 for feature in declared}
    assert [as_of(given, moment, nobody) for moment in now] == stream(events, now, most)
    assert {as_of(given, moment, nobody)["u"]["events_3d"] for moment in now} == {0.0, 1.0}


def test_windows_that_one_sort_cannot_tell_apart_are_refused() -> None:
    some_hours = np.zeros(1, dtype=np.int64)
    for hours in ([24, 1], [1, 1], list(range(1, 10))):
        with pytest.raises(ValueError, match="windows"):
            windows.sweep(some_hours, some_hours, some_hours, hours)
