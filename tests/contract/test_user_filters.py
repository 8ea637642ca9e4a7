"""What was seen or refused is in no served list: through the feature build, the online store and the recommender, whatever the path."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvloop

from feature_repo import push, store
from lodestar import schema
from lodestar.bundle import bundle
from lodestar.config import DataConfig, Recipe
from lodestar.data.tables import tables
from lodestar.engine.recommender import POPULAR, Recommender
from lodestar.features.batch import feature_set
from lodestar.features.batch.build import build_features
from lodestar.schema.events import EventType
from lodestar.schema.feedback import BINARY, Feedback
from lodestar.schema.time_units import HOUR_S, SECOND_US
from serving.features.feature_client import connect
from serving.features.user_history import UserHistory
from tests.contract.conftest import generation_of, publish
from tests.factories import EPOCH_US, declare, small_bundle, table

NUM_ITEMS, NUM_USERS = 260, 12
ITEMS = [f"i{number}" for number in range(NUM_ITEMS)]
RECIPE = Recipe(name="test", data=DataConfig(min_users=1, min_items=1, min_interactions=1))
RULES = {
    "binary": BINARY,
    "default": Feedback(),
    "all seen": Feedback(seen=tuple(sorted(schema.POSITIVE))),
    "repeat": Feedback(seen=(EventType.PURCHASE,), consumption="repeat", repeat_gap_s=400.0 * 365 * 24 * HOUR_S),
}
Event = tuple[str, str, EventType, int]


def world(rng: np.random.Generator) -> list[Event]:
    """Users from a handful of events to more than a history holds, one who only hides, one who only looks."""
    kinds = [EventType.VIEW, EventType.PURCHASE, EventType.HIDE]
    found: list[Event] = []
    for user in range(NUM_USERS):
        for item in rng.permutation(NUM_ITEMS)[: rng.integers(3, 30)]:
            found.append((f"u{user}", ITEMS[item], kinds[rng.choice(3, p=[0.6, 0.25, 0.15])], int(rng.integers(0, 10_000))))
    found += [("heavy", item, EventType.PURCHASE, 10 * place) for place, item in enumerate(ITEMS[:240])]
    found += [("hider", item, EventType.HIDE, 5) for item in ITEMS[:3]]
    return [*found, *(("looker", item, EventType.VIEW, place) for place, item in enumerate(ITEMS[:5]))]


def built(folder: Path, events: Sequence[Event], rules: Feedback) -> Path:
    users, items, kinds, seconds = zip(*events, strict=True)
    times = [EPOCH_US + second * SECOND_US for second in seconds]
    log = table(
        schema.EVENTS,
        event_id=[f"e{number}" for number in range(len(events))],
        user_id=list(users),
        item_id=list(items),
        event_type=[str(kind) for kind in kinds],
        event_time=times,
        ingested_at=times,
    )
    at: dict[str, list[Any]] = {name: [EPOCH_US] * NUM_ITEMS for name in ("created_at", "updated_at", "ingested_at")}
    catalogue = table(schema.ITEMS, item_id=ITEMS, title=ITEMS, is_active=[True] * NUM_ITEMS, **at)
    (folder / "tables").mkdir(parents=True)
    tables.write({"events": log, "items": catalogue}, folder / "tables")
    declare(folder / "tables", rules)
    build_features(folder / "tables", folder / "features", RECIPE)
    return folder / "features"


def blocked(events: Sequence[Event], rules: Feedback, user: str) -> set[str]:
    """What must not be recommended: refused items, and all that a seen type names, whenever that was."""
    seen = rules.resolved({kind for *_, kind, _ in events}).seen
    return {item for who, item, kind, _ in events if who == user and (kind in rules.negative or kind in seen)}


def read(address: str, generation: str, users: Sequence[str], *, reads_filters: bool) -> list[UserHistory]:
    async def asked() -> list[UserHistory]:
        client = connect(address, reads_filters=reads_filters, generation=generation)
        try:
            return await client.histories(users)
        finally:
            await client.close()

    return uvloop.run(asked())


def recommender(folder: Path, features: Path) -> Recommender:
    """A recommender of a bundle of these features, as training would write it."""
    found = feature_set.load(features)
    path = small_bundle(folder / "bundle", num_items=NUM_ITEMS, features=generation_of(features), rules=found.rules, reads_filters=True)
    return Recommender(bundle.load(path))


def lists(model: Recommender, histories: Sequence[UserHistory]) -> list[list[str]]:
    candidates = [model.candidates(one.items, NUM_ITEMS, (), one.gaps_s, one.filtered) for one in histories]
    return [[item.item_id for item in model.to_recommendations(one)] for one in candidates]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("where", ["sqlite", "redis"])
def test_a_served_list_has_everything_but_what_was_seen_or_refused(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    events, rules = world(np.random.default_rng(len(name))), RULES[name]
    features = built(tmp_path, events, rules)
    in_redis = where == "redis"
    address = f"redis://{request.getfixturevalue('redis')}" if in_redis else f"sqlite:{features / 'online' / 'online.db'}"
    if in_redis:
        monkeypatch.setenv("LODESTAR_REDIS", address.removeprefix("redis://"))
    publish(features, in_redis=in_redis)
    users = [*(f"u{number}" for number in range(NUM_USERS)), "heavy", "hider", "looker", "nobody"]
    histories = read(address, generation_of(features), users, reads_filters=True)
    model = recommender(tmp_path, features)
    for user, history, found in zip(users, histories, lists(model, histories), strict=True):
        assert set(found) == set(ITEMS) - blocked(events, rules, user), user
        assert len(found) == len(set(found))
        assert len(history.items) <= schema.MAX_HISTORY


def test_a_user_who_only_refused_gets_the_popular_list_without_what_was_refused(tmp_path: Path) -> None:
    events = world(np.random.default_rng(0))
    features = built(tmp_path, events, Feedback())
    publish(features)
    (history,) = read(f"sqlite:{features / 'online' / 'online.db'}", generation_of(features), ["hider"], reads_filters=True)
    model = recommender(tmp_path, features)
    found = model.to_recommendations(model.candidates(history.items, 10, (), (), history.filtered))
    assert {item.retriever for item in found} == {POPULAR}
    assert not {item.item_id for item in found} & set(ITEMS[:3])


def test_what_was_pushed_since_the_build_is_filtered_beside_what_the_build_knew(
    tmp_path: Path, redis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pushed row replaces the history, and its purchase and its refusal count, while all that the build knew still does."""
    monkeypatch.setenv("LODESTAR_REDIS", redis)
    events = world(np.random.default_rng(0))
    features = built(tmp_path, events, Feedback())
    publish(features, in_redis=True)
    rows = pd.read_parquet(features / "data" / f"{schema.USER_SEQUENCE_VIEW}.parquet")
    pushed = rows[rows[schema.USER_ID] == "heavy"].copy()
    new = {
        schema.RECENT_ITEMS: [*pushed[schema.RECENT_ITEMS].iloc[0], ITEMS[250], ITEMS[251]],
        schema.RECENT_TYPES: [*pushed[schema.RECENT_TYPES].iloc[0], "purchase", "view"],
        schema.RECENT_GAPS_S: [*pushed[schema.RECENT_GAPS_S].iloc[0], 60.0, 60.0],
        schema.REFUSED_ITEMS: [ITEMS[252]],
    }
    for column, value in new.items():
        pushed[column] = pd.Series([value], index=pushed.index)
    for column in (schema.FEATURE_TIME, schema.KNOWN_TIME):
        pushed[column] += pd.Timedelta(minutes=2)
    with store.opened(features, in_redis=True) as opened:
        opened.push(push.name(schema.USER_SEQUENCE_VIEW), pushed)
    (history,) = read(f"redis://{redis}", generation_of(features), ["heavy"], reads_filters=True)
    (found,) = lists(recommender(tmp_path, features), [history])
    assert set(found) == {*ITEMS[240:250], ITEMS[251], *ITEMS[253:]}


def test_a_seen_item_comes_again_after_the_gap(tmp_path: Path) -> None:
    """The gap is counted at the request, not at the build: the same row filters until it has passed."""
    events: list[Event] = [("u", ITEMS[place], EventType.PURCHASE, second) for place, second in enumerate((0, 3_000, 3_600))]
    rules = Feedback(consumption="repeat", repeat_gap_s=3_600.0)
    features = built(tmp_path, [*events, ("u", ITEMS[9], EventType.HIDE, 3_600)], rules)
    publish(features)
    (history,) = read(f"sqlite:{features / 'online' / 'online.db'}", generation_of(features), ["u"], reads_filters=True)
    resolved = feature_set.load(features).rules
    row_of = {item: row for row, item in enumerate(ITEMS)}
    for second, expected in ((3_600, [1, 2, 9]), (6_599, [1, 2, 9]), (6_600, [2, 9]), (7_200, [9]), (10**9, [9])):
        assert sorted(history.filtered.rows(resolved, row_of, EPOCH_US + second * SECOND_US).tolist()) == expected


def test_only_a_log_that_needs_it_makes_serving_read_filters(tmp_path: Path) -> None:
    """With binary rules and short histories the history says all, and a second read would cost for nothing."""
    light = [event for event in world(np.random.default_rng(0)) if event[0] not in {"heavy", "hider"} and event[2] != EventType.HIDE]
    counts = {
        (name, len(events)): feature_set.load(built(tmp_path / f"{name}-{place}", events, rules)).counts.filtered_users
        for (place, events), (name, rules) in itertools.product(enumerate((light, world(np.random.default_rng(0)))), RULES.items())
    }
    assert [counts["binary", len(light)], counts["binary", len(world(np.random.default_rng(0)))]] == [0, 1]
    assert counts["default", len(light)] > 0
