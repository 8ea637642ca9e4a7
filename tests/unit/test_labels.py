"""Labels beside an attribution written out by hand: by request, then by the last touch, each within its own window and cutoff."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lodestar import schema
from lodestar.features.batch import labels
from lodestar.features.batch.labels import CLICK_ATTRIBUTION_US, LabelQuery
from lodestar.schema.time_units import DAY_US, HOUR_US

END_US = 100 * DAY_US
USERS, ITEMS = ["u", "v"], ["a", "b"]
Shown = tuple[str | None, str, str, int]  # request, user, item, µs
Event = tuple[str | None, str, str, str, float | None, int]  # request, user, item, type, rating, µs


def made(
    shown: list[Shown], events: list[Event], most_rows: int = 1000, cutoffs_us: Mapping[str, int] = MappingProxyType({})
) -> list[dict[str, Any]]:
    label_query = LabelQuery(has_impressions=bool(shown), end_us=END_US, most_rows=most_rows)
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute("CREATE TABLE impressions (request_id VARCHAR, user_id VARCHAR, item_id VARCHAR, shown_at TIMESTAMPTZ)")
        database.execute(
            "CREATE TABLE positive (event_id VARCHAR, request_id VARCHAR, user_id VARCHAR, item_id VARCHAR, event_type VARCHAR,"
            " rating DOUBLE, event_time TIMESTAMPTZ)"
        )
        users = pa.array(cutoffs_us, pa.string()), pa.array(cutoffs_us.values(), pa.int64())
        database.register(labels.CUTOFFS, pa.table(dict(zip((schema.USER_ID, labels.CUTOFF_US), users, strict=True))))
        for row in shown:
            database.execute("INSERT INTO impressions VALUES (?, ?, ?, make_timestamptz(?))", row)
        for number, event in enumerate(events):
            database.execute("INSERT INTO positive VALUES (?, ?, ?, ?, ?, ?, make_timestamptz(?))", (f"e{number}", *event))
        database.execute(f"CREATE TABLE {labels.LATEST} AS {labels.latest(label_query)}")
        found: list[dict[str, Any]] = database.execute(labels.query(label_query)).to_arrow_table().to_pylist()
        return found


def expected(shown: list[Shown], events: list[Event], cutoffs_us: Mapping[str, int]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """By request, user, item and time. An event belongs to the impression of its item by its request, or else to its user's last one."""
    end = {user: min(cutoffs_us.get(user, END_US), END_US) for user in USERS}
    rows = {row: list[tuple[str, float | None, int]]() for row in shown if row[3] < end[row[1]] - CLICK_ATTRIBUTION_US}
    for request, user, item, kind, rating, timestamp in events:
        if timestamp >= end[user]:
            continue
        own = [row for row in shown if (row[0], row[2]) == (request, item)]
        last = sorted((row for row in shown if row[1:3] == (user, item) and row[3] <= timestamp), key=lambda row: (row[3], str(row[0])))
        for row in own or last[-1:]:
            if row in rows and row[3] <= timestamp < end[row[1]]:
                rows[row].append((kind, rating, timestamp - row[3]))
    return {row: outcome(row[3], end[row[1]], came) for row, came in rows.items()}


def outcome(timestamp: int, end_us: int, came: list[tuple[str, float | None, int]]) -> dict[str, Any]:
    def within(kind: str, days: int) -> int | None:
        is_closed = timestamp < end_us - days * DAY_US
        return int(any(one == kind and after <= days * DAY_US for one, _, after in came)) if is_closed else None

    ratings = [rating for _, rating, after in came if rating is not None and after <= 7 * DAY_US]
    return {
        schema.LABEL: int(any(after <= CLICK_ATTRIBUTION_US for *_, after in came)),
        schema.BOUGHT: within("purchase", 7),
        schema.COMPLETED: within("complete", 60),
        schema.RATING: max(ratings, default=None),
    }


hours = st.integers(0, 100 * 24 + 5).map(lambda hour: hour * HOUR_US)
near = st.integers(0, 60).map(lambda minutes: END_US - minutes * 60_000_000)
timestamps = hours | near
shown_lists = st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), timestamps), min_size=1, max_size=8)
event_lists = st.lists(
    st.tuples(
        st.none() | st.integers(0, 9),
        st.sampled_from(USERS),
        st.sampled_from(ITEMS),
        st.sampled_from(["view", "purchase", "complete", "rating"]),
        timestamps,
    ),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(shown_lists, event_lists, st.dictionaries(st.sampled_from(USERS), timestamps))
def test_what_came_of_an_impression_is_as_written_out(
    shown: list[tuple[str, str, int]], events: list[tuple[Any, ...]], cutoffs_us: dict[str, int]
) -> None:
    asked: list[Shown] = [(f"r{number}", *row) for number, row in enumerate(shown)]
    came: list[Event] = [
        (None if request is None else f"r{request}", user, item, kind, 4.0 if kind == "rating" else None, timestamp)
        for request, user, item, kind, timestamp in events
    ]
    found = made(asked, came, cutoffs_us=cutoffs_us)
    label_query = expected(asked, came, cutoffs_us)
    key = (schema.USER_ID, schema.ITEM_ID)
    tasks = (schema.LABEL, schema.BOUGHT, schema.COMPLETED, schema.RATING)
    ours = [
        (*(row[name] for name in key), int(row[schema.FEATURE_TIME].timestamp() * 1e6), *(row[name] for name in tasks)) for row in found
    ]
    theirs = [(row[1], row[2], row[3], *(values[name] for name in tasks)) for row, values in label_query.items()]
    assert sorted(ours, key=str) == sorted(theirs, key=str)


def test_an_event_without_a_request_belongs_to_the_last_touch_only() -> None:
    shown: list[Shown] = [("r1", "u", "a", 0), ("r2", "u", "a", 10 * 60_000_000), ("r3", "v", "a", 11 * 60_000_000)]
    rows = made(shown, [(None, "u", "a", "purchase", None, 12 * 60_000_000)])
    assert [(row[schema.LABEL], row[schema.BOUGHT]) for row in rows] == [(0, 0), (1, 1), (0, 0)]


def test_a_purchase_counts_for_seven_days_and_a_click_for_half_an_hour() -> None:
    late = 2 * DAY_US
    (row,) = made([("r1", "u", "a", 0)], [("r1", "u", "a", "purchase", None, late), ("r1", "u", "a", "rating", 3.5, late)])
    assert (row[schema.LABEL], row[schema.BOUGHT], row[schema.COMPLETED], row[schema.RATING]) == (0, 1, 0, 3.5)


@pytest.mark.parametrize(("kind", "bought", "completed"), [("purchase", 1, 0), ("complete", 0, 1), ("view", 0, 0)])
def test_without_impressions_an_event_says_what_it_is(kind: str, bought: int, completed: int) -> None:
    rows = made([], [(None, "u", "a", kind, 2.0, 5), (None, "v", "b", "view", None, 7)])
    positive = next(row for row in rows if row[schema.USER_ID] == "u" and row[schema.LABEL] == 1)
    assert (positive[schema.BOUGHT], positive[schema.COMPLETED], positive[schema.RATING]) == (bought, completed, 2.0)
    left = [row for row in rows if row[schema.LABEL] == 0]
    assert all((row[schema.BOUGHT], row[schema.COMPLETED], row[schema.RATING]) == (0, 0, None) for row in left)


def test_what_a_user_does_from_the_own_cutoff_on_labels_nothing_and_leaves_items_as_negatives() -> None:
    """Another user goes on; without impressions, `held` is drawn for `u` as any item that was not met by then."""
    hour = HOUR_US
    later: list[Event] = [(None, "u", "held", "purchase", None, 3 * hour), (None, "v", "held", "view", None, 5 * hour)]
    rows = made([("r", "u", "held", hour)], [("r", *later[0][1:])], cutoffs_us={"u": 3 * hour})
    assert [(row[schema.LABEL], row[schema.BOUGHT], row[schema.RATING]) for row in rows] == [(0, None, None)]
    assert made([("r", "u", "held", 3 * hour - CLICK_ATTRIBUTION_US)], [], cutoffs_us={"u": 3 * hour}) == []
    rows = made([], [(None, "u", "a", "view", None, hour), *later], cutoffs_us={"u": 3 * hour})
    pairs = [(row[schema.USER_ID], row[schema.ITEM_ID], row[schema.LABEL]) for row in rows]
    assert pairs == [("u", "a", 1), ("u", "held", 0), ("v", "a", 0), ("v", "held", 1)]
