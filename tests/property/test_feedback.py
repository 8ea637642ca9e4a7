"""In random worlds under random rules, interactions and filters are what counting by hand gives, and what is filtered is in no list."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lodestar import schema
from lodestar.config import DataConfig, Recipe
from lodestar.data.tables import tables
from lodestar.data.tables.tables import Tables
from lodestar.engine.user_filter import UserFilter
from lodestar.features.batch import build, feature_set, user_filters
from lodestar.features.batch.build import build_features
from lodestar.features.batch.duckdb_views import connect
from lodestar.schema.events import EventType
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.schema.time_units import SECOND_US
from tests.factories import EPOCH_US, declare, table

USERS, ITEMS = ["u0", "u1", "u2"], ["a", "b", "c", "d"]
KINDS = [EventType.VIEW, EventType.PURCHASE, EventType.HIDE, EventType.RATING, EventType.SEARCH]
Event = tuple[str, str, EventType, int, float | None]  # user, item, type, second, rating
RULES = [
    BINARY,
    Feedback(),
    Feedback(seen=(EventType.PURCHASE,)),
    Feedback(seen=(EventType.PURCHASE,), consumption="repeat", repeat_gap_s=10.0),
    Feedback(consumption="repeat", repeat_gap_s=0.0),
    replace(BINARY, negative=(EventType.HIDE,)),
    replace(BINARY, consumption="repeat", repeat_gap_s=5.0),
]


@st.composite
def worlds(draw: st.DrawFn) -> list[Event]:
    """At least one positive event, and others at few times, so that there are ties and repeats."""
    one = st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(KINDS), st.integers(0, 30))
    drawn = draw(st.lists(one, min_size=1, max_size=25))
    rated = [(*event, draw(st.sampled_from([1.0, 2.0, 3.0, 4.0, 5.0])) if event[2] == EventType.RATING else None) for event in drawn]
    return [("u0", "a", EventType.VIEW, 0, None), *rated]


def written(folder: Path, events: Sequence[Event], rules: Feedback, withdrawn: Sequence[str] = ()) -> Tables:
    folder.mkdir(parents=True, exist_ok=True)
    users, items, kinds, seconds, ratings = zip(*events, strict=True)
    times = [EPOCH_US + second * SECOND_US for second in seconds]
    log = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(len(events))],
        user_id=list(users),
        item_id=[None if kind == EventType.SEARCH else item for item, kind in zip(items, kinds, strict=True)],
        event_type=[str(kind) for kind in kinds],
        query_text=["lamp" if kind == EventType.SEARCH else None for kind in kinds],
        rating=list(ratings),
        event_time=times,
        ingested_at=times,
    )
    at = {name: [EPOCH_US] * len(ITEMS) for name in ("created_at", "updated_at", "ingested_at")}
    catalogue = table(schema.ITEMS, item_id=ITEMS, title=ITEMS, is_active=[True] * len(ITEMS), **at)
    known = {name: [EPOCH_US] * len(USERS) for name in ("created_at", "updated_at", "ingested_at")}
    people = table(schema.USERS, user_id=USERS, consent_personalise=[user not in withdrawn for user in USERS], **known)
    tables.write({"events": log, "items": catalogue, "users": people}, folder)
    declare(folder, rules)
    return Tables(root=folder)


class World:
    """What happens in a world to one user, event by event, by the rules: written to be read, not to be fast."""

    def __init__(self, rules: Feedback, events: Sequence[Event], user: str) -> None:
        kinds = {str(kind) for _, _, kind, _, _ in events}
        self.rules = rules.resolved(kinds)
        self.history: list[tuple[str, int]] = []
        self.refused: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        mine = sorted((event for event in events if event[0] == user and event[2] != EventType.SEARCH), key=lambda event: event[3])
        for _, item, kind, second, rating in mine:
            self._happens(item, kind, second, rating)

    def _happens(self, item: str, kind: EventType, second: int, rating: float | None) -> None:
        rules = self.rules
        is_negative = kind in rules.negative or (rating is not None and rating <= rules.rating_negative_to)
        is_liked = kind != EventType.RATING or (rating is not None and rating >= rules.rating_positive_from)
        if is_negative:
            self.refused.setdefault(item, second)
            return
        is_new = rules.consumption == "repeat" or kind in rules.seen or item not in {name for name, _ in self.history}
        if kind in rules.positive and is_liked and is_new and not self.filters(item, second):
            self.history.append((item, second))
        if kind in rules.seen:
            self.seen[item] = second

    def filters(self, item: str, second: int) -> bool:
        if item in self.refused:
            return True
        if self.rules.consumption == "once":
            return item in self.seen
        return item in self.seen and second - self.seen[item] < self.rules.repeat_gap_s


@contextmanager
def built(events: Sequence[Event], rules: Feedback, withdrawn: Sequence[str] = ()) -> Iterator[tuple[dict[str, Any], dict[str, Any], Any]]:
    """Rows of the views of user sequences and filters by user, and the resolved rules' counts."""
    with tempfile.TemporaryDirectory() as folder, connect(written(Path(folder) / "tables", events, rules, withdrawn)) as database:
        sequences: dict[str, Any] = {}
        filters: dict[str, Any] = {}
        for rows, filter_rows, _ in build.user_rows(database):
            sequences |= {row[schema.USER_ID]: row for row in rows.to_pylist()}
            filters |= {row[schema.USER_ID]: row for row in filter_rows.to_pylist()}
        yield sequences, filters, database


def filter_of(row: dict[str, Any] | None) -> UserFilter:
    if row is None:
        return UserFilter()
    forever, resting, until = (row[name] or b"" for name in (schema.FILTERED_ITEMS, schema.RESTING_ITEMS, schema.RESTING_UNTIL))
    return UserFilter(np.frombuffer(forever, "<u4"), np.frombuffer(resting, "<u4"), np.frombuffer(until, "<i8"))


SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(events=worlds(), rules=st.sampled_from(RULES), later=st.integers(0, 20))
def test_histories_and_filters_are_those_that_living_through_the_log_gives(events: list[Event], rules: Feedback, later: int) -> None:
    now = max(second for *_, second, _ in events) + later
    row_of = {item: number for number, item in enumerate(ITEMS)}
    with built(events, rules) as (sequences, filters, _):
        for user in USERS:
            world = World(rules, events, user)
            assert sequences.get(user, {}).get(schema.RECENT_ITEMS, []) == [item for item, _ in world.history]
            expected = {item for item in ITEMS if world.filters(item, now)}
            rows = filter_of(filters.get(user)).rows(world.rules, row_of, EPOCH_US + now * SECOND_US)
            found = {ITEMS[row] for row in rows.tolist()}
            if world.rules.filters_history:
                found |= {item for item, _ in world.history}
            assert found == expected


@SETTINGS
@given(events=worlds(), rules=st.sampled_from(RULES), split=st.sampled_from(["time", "leave_one_out"]))
def test_evaluation_filters_what_serving_would_at_that_time(events: list[Event], rules: Feedback, split: str) -> None:
    """Offline equals online: each case's filter is that of the world as it was at the case's cutoff, and no target is filtered."""
    least = DataConfig(split=split, min_users=1, min_items=1, min_interactions=1, test_share=0.3, validation_share=0.3)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder) / "tables", events, rules)
        build_features(Path(folder) / "tables", Path(folder) / "features", Recipe(name="test", data=least))
        found = feature_set.load(Path(folder) / "features")
        parts = found.split(least)
        for cases in (parts.validation, parts.test):
            for case, user in enumerate(cases.user):
                now_us = int(cases.cutoff_us[case]) + 1
                second = (now_us - EPOCH_US) / SECOND_US
                before = [event for event in events if event[3] < second]
                world = World(found.rules, before, found.interactions.users[user])
                excluded = {ITEMS[item] for item in cases.excluded[case]}
                certain = {item for item in ITEMS if world.filters(item, int(second))}
                # Of a leave-one-out case the history may go on at the very time of its target, by the order of the log.
                same_time = {ITEMS[item] for item in cases.history[case]} if split == "leave_one_out" else set()
                assert certain <= excluded <= certain | same_time
                relevant = [ITEMS[item] for item in cases.relevant[case]]
                assert relevant
                assert len(set(relevant)) == len(relevant)
                assert not set(relevant) & excluded


@SETTINGS
@given(events=worlds(), rules=st.sampled_from(RULES))
def test_a_row_is_made_again_from_the_events_that_were_known(events: list[Event], rules: Feedback) -> None:
    with built(events, rules) as (sequences, filters, _):
        for user, row in filters.items():
            assert row[schema.KNOWN_TIME] >= sequences.get(user, row)[schema.KNOWN_TIME]


@SETTINGS
@given(events=worlds(), rules=st.sampled_from(RULES), withdrawn=st.sets(st.sampled_from(USERS[1:])))
def test_who_withdrew_consent_trains_nothing(events: list[Event], rules: Feedback, withdrawn: set[str]) -> None:
    others = [event for event in events if event[0] not in withdrawn]
    rules = replace(rules, seen=rules.resolved({str(kind) for _, _, kind, _, _ in events}).seen)
    with built(events, rules, sorted(withdrawn)) as (sequences, filters, database), built(others, rules) as (expected, expected_filters, _):
        assert not withdrawn & {*sequences, *filters}
        assert (sequences, filters) == (expected, expected_filters)
        counts = database.execute("SELECT count(*) FROM positive").fetchone()
        assert counts == (len(_positive(others, rules)),)


def _positive(events: Sequence[Event], rules: Feedback) -> list[Event]:
    return [
        event
        for event in events
        if event[2] in rules.positive
        and (event[4] is None or event[4] > rules.rating_negative_to)
        and (event[2] != EventType.RATING or (event[4] or 0) >= rules.rating_positive_from)
    ]


def test_of_too_many_items_the_refused_and_the_newest_are_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(user_filters, "MAX_FILTERED", 2)
    events: list[Event] = [
        ("u0", "a", EventType.HIDE, 0, None),
        *(("u0", item, EventType.PURCHASE, second, None) for second, item in enumerate("bcd", 1)),
        ("u1", "a", EventType.PURCHASE, 9, None),
    ]
    with built(events, Feedback()) as (_, filters, database):
        assert filter_of(filters["u0"]).forever.tolist() == [0, 3]
        assert filter_of(filters["u1"]).forever.tolist() == [0]
        cut = [is_cut.tolist() for _, _, is_cut in build.user_rows(database)]
    assert cut == [[True, False]]
