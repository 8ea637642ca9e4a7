"""Generations of rows in Redis: each model reads its own, all of it or nothing; what nobody reads goes, and what is live is pushed to."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis as redis_client

from components.release.release import release
from feature_repo import materialise as publication
from feature_repo import push
from feature_repo.stores.generations import Generations
from feature_repo.stores.redis_store import PackedRedisOnlineStore
from feature_repo.stores.time_us import microseconds
from lodestar import schema
from lodestar.bundle import bundle
from lodestar.errors import EnvironmentFault
from lodestar.io import storage
from lodestar.schema.store_keys import KEPT_S, STATE, rows_key
from serving.features.feature_client import GenerationMissing, Histories
from tests.contract.conftest import StartRedis, feast
from tests.contract.generation_harness import EARLY, LATE, USERS, Made, asked, counts, expected, histories, made, newest, times_left_s
from tests.ports import free_port

FIRST, SECOND, THIRD = (f"2026-01-0{day}T00:00:00+00:00" for day in (1, 2, 3))


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("before"), EARLY)


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("after"), LATE)


@pytest.fixture(scope="module")
def port(start_redis: StartRedis) -> int:
    start_redis(found := free_port())
    return found


@pytest.fixture
def redis(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an empty Redis that releases go to."""
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{port}")
    with contextlib.closing(redis_client.Redis(port=port)) as client:
        client.flushall()
        yield client


@pytest.fixture
def destination(bucket: str, tmp_path: Path) -> str:
    return f"{bucket}/{tmp_path.name}"


def test_two_generations_are_read_side_by_side_and_rows_that_arrive_late_are_in_theirs(
    before: Made, after: Made, redis: Any, port: int, destination: str
) -> None:
    release(*before, destination, FIRST)
    old_counts = counts(port, before)
    assert histories(port, before) == expected(before) == [("i1", "i2", "i3"), ("i1",), ()]
    release(*after, destination, SECOND)
    assert histories(port, after) == expected(after) == [("i3", "i1", "i2"), ("i4", "i1"), ("i5",)]
    assert histories(port, before) == expected(before)
    np.testing.assert_equal(counts(port, before), old_counts)
    user_counts, _ = counts(port, after)
    names = [count.name for count in schema.VIEWS[schema.USER_ACTIVITY_VIEW].counts]
    for user, row in zip(USERS, user_counts, strict=True):
        wanted = newest(after, schema.USER_ACTIVITY_VIEW, user)
        np.testing.assert_array_equal(row.astype(np.float32), [wanted[name] for name in names])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_in_whatever_order_rows_arrive_the_next_run_publishes_them(
    order: tuple[int, int], before: Made, after: Made, redis: Any, port: int, destination: str
) -> None:
    runs = [before, after]
    for place, started_at in zip(order, (FIRST, SECOND), strict=True):
        release(*runs[place], destination, started_at)
        assert histories(port, runs[place]) == expected(runs[place])


def test_a_generation_is_read_when_all_of_it_is_there(before: Made, redis: Any, port: int) -> None:
    with pytest.raises(GenerationMissing, match=before.generation):
        histories(port, before)
    generations = Generations(redis, schema.FEAST_PROJECT)
    generations.begin(before.generation)
    with pytest.raises(GenerationMissing):
        histories(port, before)
    assert all(0 < left_s <= KEPT_S for left_s in times_left_s(redis, before))  # if nobody goes on
    publication.materialise_redis(before.features)
    assert histories(port, before) == expected(before)
    redis.delete(rows_key(schema.FEAST_PROJECT, before.generation, schema.ITEM_STATS_VIEW))  # as an eviction does it
    with pytest.raises(GenerationMissing):
        counts(port, before)


def test_a_flushed_redis_is_filled_by_the_same_run_again(before: Made, redis: Any, port: int, destination: str) -> None:
    address = release(*before, destination, FIRST)
    redis.flushall()
    with pytest.raises(GenerationMissing):
        histories(port, before)
    assert release(*before, destination, SECOND) == address
    assert histories(port, before) == expected(before)
    assert times_left_s(redis, before) == {-1}


@pytest.mark.parametrize(("module", "name", "is_uploaded"), [(publication, "_materialise", False), (storage, "upload", True)])
def test_rows_that_go_before_they_are_current_are_no_generation(
    module: Any, name: str, is_uploaded: bool, before: Made, redis: Any, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = getattr(module, name)

    def flush_after(*what: Any) -> Any:
        return step(*what), redis.flushall()

    monkeypatch.setattr(module, name, flush_after)
    with pytest.raises(EnvironmentFault, match=rf"E554.*{before.generation}.*Publish again"):
        release(*before, destination, FIRST)
    assert Generations(redis, schema.FEAST_PROJECT).current() == ""
    with contextlib.nullcontext() if is_uploaded else pytest.raises(EnvironmentFault, match="E510"):
        storage.download(destination, before.bundle.parent / f"after {name}")


def test_a_run_whose_rows_another_one_gives_up_says_to_publish_again(
    before: Made, redis: Any, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialise = publication._materialise

    def given_up(opened: Any) -> None:
        Generations(redis, schema.FEAST_PROJECT).abandon(before.generation)  # as a run of the same one does that is terminated
        materialise(opened)

    monkeypatch.setattr(publication, "_materialise", given_up)
    with pytest.raises(EnvironmentFault, match=rf"E554.*{before.generation}.*Publish again"):
        release(*before, destination, FIRST)


def test_what_is_superseded_goes_when_no_predictor_has_read_it_for_a_day(
    before: Made, after: Made, redis: Any, port: int, destination: str
) -> None:
    release(*before, destination, FIRST)
    assert times_left_s(redis, before) == {-1}
    release(*after, destination, SECOND)
    assert times_left_s(redis, after) == {-1}
    assert all(KEPT_S - 60 < left_s <= KEPT_S for left_s in times_left_s(redis, before))
    for view in schema.VIEWS:
        redis.expire(rows_key(schema.FEAST_PROJECT, before.generation, view), 100)
    for one in (before, after):
        histories(port, one)  # each by a client that says that it is there
    assert times_left_s(redis, after) == {-1}
    assert all(left_s > KEPT_S - 60 for left_s in times_left_s(redis, before))
    for view in schema.VIEWS:
        redis.pexpire(rows_key(schema.FEAST_PROJECT, before.generation, view), 1)
    time.sleep(0.01)
    release(*after, destination, THIRD)
    assert Generations(redis, schema.FEAST_PROJECT).live() == [after.generation]


def test_a_generation_that_comes_back_stays(before: Made, after: Made, redis: Any, port: int, destination: str) -> None:
    for one, started_at in ((before, FIRST), (after, SECOND), (before, THIRD)):
        release(*one, destination, started_at)
    assert times_left_s(redis, before) == {-1}
    assert min(times_left_s(redis, after)) > 0
    assert histories(port, before) == expected(before)


def test_an_older_run_that_ends_later_changes_nothing(
    before: Made, after: Made, redis: Any, port: int, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = release(*after, destination, SECOND)
    content = {key: redis.dump(key) for key in redis.keys("*")}
    with pytest.raises(EnvironmentFault, match="E565"):
        release(*before, destination, FIRST)
    assert {key: redis.dump(key) for key in redis.keys("*")} == content  # not even rows
    assert storage.resolve(destination) == newer


def test_the_same_again_from_an_older_run_lets_no_other_older_one_in(before: Made, after: Made, redis: Any, destination: str) -> None:
    address = release(*before, destination, SECOND)
    assert release(*before, destination, FIRST) == address
    generations = Generations(redis, schema.FEAST_PROJECT)
    assert generations.make_current(after.generation, microseconds(datetime.fromisoformat(FIRST))) == before.generation
    with pytest.raises(EnvironmentFault, match="E565"):
        release(*after, destination, FIRST)
    assert storage.resolve(destination) == address


def test_an_older_run_that_is_overtaken_half_way_leaves_the_newer_one(
    before: Made, after: Made, redis: Any, port: int, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = storage.upload

    def overtaken(*asked: Any) -> str:
        monkeypatch.setattr(storage, "upload", upload)
        release(*after, destination, SECOND)
        return upload(*asked)

    monkeypatch.setattr(storage, "upload", overtaken)
    with pytest.raises(EnvironmentFault, match="E565"):
        release(*before, destination, FIRST)
    assert bundle.load(storage.download(destination, before.bundle.parent / "back")).digest == bundle.load(after.bundle).digest
    assert Generations(redis, schema.FEAST_PROJECT).current() == after.generation
    assert histories(port, after) == expected(after)
    assert times_left_s(redis, after) == {-1}
    assert min(times_left_s(redis, before)) > 0  # it will go


def test_a_push_reaches_what_is_live_and_the_next_request(
    before: Made, after: Made, redis: Any, port: int, destination: str, tmp_path: Path
) -> None:
    release(*before, destination, FIRST)
    release(*after, destination, SECOND)
    now = datetime.now(UTC)
    row = {schema.RECENT_ITEMS: ["i9"], schema.RECENT_TYPES: ["view"], schema.RECENT_GAPS_S: [0.0], schema.REFUSED_ITEMS: None}
    pushed = pd.DataFrame([{schema.USER_ID: "u2", **row, schema.FEATURE_TIME: now, schema.KNOWN_TIME: now}])
    with feast(after.features, tmp_path) as opened:
        opened.push(push.name(schema.USER_SEQUENCE_VIEW), pushed)
        assert [histories(port, one)[2] for one in (before, after)] == [("i9",)] * 2
        answer = opened.get_online_features(features=["user_sequence:item_ids"], entity_rows=[{schema.USER_ID: one} for one in USERS])
        assert answer.to_dict()[schema.RECENT_ITEMS] == [["i3", "i1", "i2"], ["i4", "i1"], ["i9"]]  # of the current one


def test_an_hours_rows_go_to_the_generation_of_their_tables(
    before: Made, after: Made, redis: Any, port: int, destination: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "datetime", OnThatDay)
    release(*before, destination, FIRST)
    release(*after, destination, SECOND)
    was = counts(port, before)
    with feast(after.features, tmp_path) as opened:
        opened.materialize(datetime.now(UTC) - timedelta(minutes=1), datetime.now(UTC))  # as its registry says, which knows no generation
    np.testing.assert_equal(counts(port, before), was)
    user_counts, _ = counts(port, after)
    assert [newest(after, schema.USER_ACTIVITY_VIEW, user)["events_30d"] for user in USERS] == user_counts[:, 3].tolist()
    assert was[0][0, 3] > user_counts[0, 3] == 0.0


class OnThatDay(datetime):
    """When the counts of thirty days have not fallen yet."""

    @classmethod
    def now(cls, tz: Any = None) -> "OnThatDay":
        return cls(2026, 1, 20, tzinfo=tz)


def test_an_hours_rows_of_a_generation_that_is_not_there_are_refused(
    before: Made, after: Made, redis: Any, destination: str, tmp_path: Path
) -> None:
    release(*before, destination, FIRST)
    with feast(after.features, tmp_path) as opened, pytest.raises(EnvironmentFault, match=f"E552.*{after.generation}"):
        opened.materialize(publication.EARLIEST, datetime.now(UTC))


def test_a_redis_without_memory_stops_the_release(before: Made, redis: Any, destination: str) -> None:
    redis.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(EnvironmentFault, match=r"E553.*memory"):
            release(*before, destination, FIRST)
    finally:
        redis.config_set("maxmemory", "0")


def test_a_fill_that_fails_half_way_removes_what_it_wrote(
    before: Made, redis: Any, port: int, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = PackedRedisOnlineStore.write_rows, list[str]()

    def fail_later(self: Any, config: Any, table: Any, content: Any, generation: str = "") -> None:
        if table.name == schema.QUERY_STATS_VIEW:
            raise SystemExit(143)
        write(self, config, table, content, generation)
        written.append(table.name)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(PackedRedisOnlineStore, "write_rows", fail_later)
        release(*before, destination, FIRST)
    assert len(written) > 3
    assert times_left_s(redis, before) == {-2}
    release(*before, destination, FIRST)
    monkeypatch.setattr(PackedRedisOnlineStore, "write_rows", fail_later)
    with pytest.raises(SystemExit):
        release(*before, destination, SECOND)
    assert histories(port, before) == expected(before)  # which was complete


def test_a_state_is_no_row_of_anyone(before: Made, redis: Any, port: int, destination: str) -> None:
    release(*before, destination, FIRST)
    with pytest.raises(UnicodeDecodeError):
        STATE.decode()
    found: Histories = asked(port, before.generation, lambda client: client.histories([""]))
    assert found[0].items == ()
