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
from lodestar.features.batch import count_tables, event_partitions, windows
from lodestar.features.batch.feedback_events import FEEDBACK, SIGN
from lodestar.features.batch.windows import StreamingCounter, scaled
from lodestar.schema import View
from lodestar.schema.time_units import HOUR_US
from tests.factories import EPOCH_US

KINDS = (schema.EventType.VIEW, schema.EventType.CLICK, schema.EventType.PURCHASE)
BOUGHT = schema.Count(name="bought_3d", window_h=72, types=frozenset({schema.EventType.PURCHASE}))
SEEN = schema.Count(name="seen_decayed", window_h=5, num_half_lives=2, types=frozenset({schema.EventType.VIEW, schema.EventType.CLICK}))
DECLARED = schema.VIEWS[schema.USER_ACTIVITY_VIEW]
VIEW = replace(DECLARED, features=(*DECLARED.counts, BOUGHT, SEEN))
STAMP = pa.timestamp("us", tz="UTC")
# (user, when it happened, how late it became known, what it was), in a grid that makes ties and hours' ends likely.
EVENT = some.tuples(
    some.sampled_from("uv"),
    some.integers(0, 40).map(lambda place: place * HOUR_US // 2) | some.integers(0, 800 * HOUR_US),
    some.sampled_from([0, 0, 1, HOUR_US // 2, HOUR_US, 30 * HOUR_US]) | some.integers(0, 900 * HOUR_US),
    some.sampled_from(KINDS),
)
Event = tuple[str, int, int, schema.EventType]
Row = dict[str, Any]


def tables(events: Sequence[Event], declared: View = VIEW) -> tuple[list[Row], list[Row], dict[str, float]]:
    """Raw counts, what a model is given, and the fitted scale."""
    columns = {
        schema.USER_ID: pa.array([user for user, *_ in events]),
        schema.EVENT_TIME: pa.array([EPOCH_US + time for _, time, *_ in events], STAMP),
        schema.INGESTED_AT: pa.array([EPOCH_US + time + late for _, time, late, _ in events], STAMP),
        schema.ITEM_ID: pa.array(["i"] * len(events)),
        schema.EVENT_TYPE: pa.array([str(kind) for *_, kind in events]),
        "file_row_number": pa.array(range(len(events))),
        SIGN: pa.array([1] * len(events)),
    }
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'; CREATE TABLE items AS SELECT 'i' AS item_id, 0 AS file_row_number")
        database.register(FEEDBACK, pa.table(columns))
        event_partitions.partition_events(database, Path(folder), FEEDBACK)
        counted = count_tables.count(database, declared, 1 << 62, Path(folder, "counts"))
        ids = event_partitions.ids(database, schema.USER_ID)
        given = [row for rows in count_tables.scaled_rows(counted, ids, counted.scale) for row in rows.to_pylist()]
        counts = [row for block in counted.blocks() for row in pa.table(raw(block, ids)).to_pylist()]
    return counts, given, dict(counted.scale)


def raw(block: dict[str, Any], ids: pa.Array) -> dict[str, Any]:
    """Columns of raw counts, with users by name and timestamps."""
    hours = count_tables.hour_starts(block[count_tables.HOUR])
    return {**block, schema.USER_ID: ids.take(pa.array(block[count_tables.ENTITY])), schema.FEATURE_TIME: hours}


def as_of(rows: Sequence[Row], timestamp: int, declared: View = VIEW) -> dict[str, dict[str, float]]:
    """By user, what a point-in-time join finds."""
    nobody = {one.name: one.default for one in declared.counts}
    known = [row for row in rows if row[schema.FEATURE_TIME].timestamp() * 1e6 <= EPOCH_US + timestamp]
    latest = {row[schema.USER_ID]: {one.name: row[one.name] for one in declared.counts} for row in known}
    return {user: latest.get(user, nobody) for user in "uv"}


def stream(events: Sequence[Event], now: Sequence[int], most: dict[str, float], declared: View = VIEW) -> list[dict[str, dict[str, float]]]:
    """The same, event after event in the order in which they became known."""
    state, waiting, found = StreamingCounter(declared), sorted(events, key=lambda event: event[1] + event[2]), []
    for timestamp in now:
        while waiting and waiting[0][1] + waiting[0][2] <= timestamp:
            user, time, late, kind = waiting.pop(0)
            state.add(user, EPOCH_US + time, EPOCH_US + time + late, kind)
        found.append(
            {user: {name: float(value) for name, value in scaled(state.count(user, EPOCH_US + timestamp), most).items()} for user in "uv"}
        )
    return found


@settings(max_examples=100)
@given(events=some.lists(EVENT, min_size=1, max_size=25), now=some.lists(some.integers(0, 1700 * HOUR_US), min_size=1, max_size=8))
def test_the_three_forms_are_equal(events: list[Event], now: list[int]) -> None:
    now = sorted({*now, *(time + late for _, time, late, _ in events)})
    counts, given, most = tables(events)
    assert all(row[feature.name] >= 0 for row in counts for feature in VIEW.counts)
    assert stream(events, now, most) == [as_of(given, timestamp) for timestamp in now]


@settings(max_examples=100)
@given(
    events=some.lists(EVENT, min_size=1, max_size=15),
    later=some.lists(EVENT, min_size=1, max_size=8),
    timestamp=some.integers(0, 900 * HOUR_US),
)
def test_nothing_that_becomes_known_later_changes_what_is_found_now(events: list[Event], later: list[Event], timestamp: int) -> None:
    """The metamorphic rule, on raw counts: the scale is fitted on the whole training window."""
    added = [(user, time, max(late, timestamp + 1 - time), kind) for user, time, late, kind in later]
    before, after = (tables(log)[0] for log in (events, [*events, *added]))
    assert as_of(before, timestamp) == as_of(after, timestamp)


def test_the_order_of_declarations_is_of_no_account() -> None:
    """What the documents say of a new feature: a line at the end, with a window that lies between others."""
    declared = replace(DECLARED, features=(*DECLARED.counts, schema.Count(name="events_3d", window_h=72)))
    view = schema.EventType.VIEW
    events = [("u", 0, 0, view), ("u", 30 * HOUR_US, 50 * HOUR_US, view), ("v", 5 * HOUR_US, 3, view)]
    now = [hour * HOUR_US for hour in range(0, 800, 7)]
    _, given, most = tables(events, declared)
    assert [as_of(given, timestamp, declared) for timestamp in now] == stream(events, now, most, declared)
    assert {as_of(given, timestamp, declared)["u"]["events_3d"] for timestamp in now} == {0.0, 1.0}


def test_a_decayed_count_halves_with_every_half_life_and_ends() -> None:
    decayed = schema.Count(name="n", window_h=10, num_half_lives=3)
    state = StreamingCounter(replace(DECLARED, features=(decayed,)))
    state.add("u", 0, 0, schema.EventType.VIEW)
    ages_h = (0, 1, 10, 11, 20, 21, 30, 31, 40, 41)
    assert [state.count("u", hour * HOUR_US)["n"] for hour in ages_h] == [0, 8, 8, 4, 4, 2, 2, 1, 1, 0]
    assert state._events == {}  # of a key that has ended nothing is kept


def test_windows_that_one_sort_cannot_tell_apart_are_refused() -> None:
    some_hours, all_of_them = np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    for hours in ([24, 1], [1, 1], list(range(1, 17))):
        with pytest.raises(ValueError, match="windows"):
            windows.sweep(some_hours, some_hours, some_hours, [windows.Windows(counts=all_of_them, hours=hours)])


@given(counts=some.lists(some.integers(0, 30) | some.integers(0, 1 << 40)), scale=some.integers(1, 1 << 40))
def test_a_column_is_scaled_as_each_of_its_rows(counts: list[int], scale: int) -> None:
    """Both where the values are fewer than the rows and where they are not."""
    narrow: type[np.integer[Any]] = np.uint8 if max(counts, default=0) < 256 else np.int64
    expected = [scaled({"n": n}, {"n": float(scale)})["n"] for n in counts]
    assert count_tables.scale_column(np.array(counts, dtype=narrow), float(scale)).tolist() == expected
