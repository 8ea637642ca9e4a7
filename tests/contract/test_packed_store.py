"""The packed Redis store: serving reads what Feast reads, in whatever order rows were written, and while a view changes."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis as client
import uvloop
from feast import FeatureStore, FeatureView, Field, FileSource, PushSource
from feast.types import Array, Bool, Bytes, FeastType, Float32, Float64, Int32, Int64, String, UnixTimestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from feature_repo import entities, store
from feature_repo.stores.redis_store import ROWS_AT_ONCE, PackedRedisOnlineStoreConfig
from lodestar import schema
from lodestar.schema.store_keys import rows_key
from serving.features.packed_reader import PackedView
from serving.features.redis import Redis, RedisAddress
from tests.contract.conftest import StartRedis
from tests.ports import free_port

VIEW = "anything"
SCHEMA: dict[str, FeastType] = {
    "f4": Float32, "f8": Float64, "i4": Int32, "i8": Int64, "yes": Bool, "text": String, "raw": Bytes, "at": UnixTimestamp,
    "f4s": Array(Float32), "f8s": Array(Float64), "i4s": Array(Int32), "i8s": Array(Int64), "texts": Array(String),
}  # fmt: skip
NUMBERS = ("f4", "f8", "i4", "i8", "yes")
START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A Feast store over an empty Redis."""

    address: str
    store: FeatureStore

    @property
    def redis(self) -> Any:
        return client.Redis(port=int(self.address.partition(":")[2]))

    def apply(self, fields: dict[str, FeastType], ttl: timedelta = timedelta(0)) -> None:
        table = FileSource(
            name="table", path="data/table.parquet", timestamp_field=schema.FEATURE_TIME, created_timestamp_column=schema.KNOWN_TIME
        )
        kept = [Field(name=name, dtype=kind) for name, kind in fields.items()]
        view = FeatureView(name=VIEW, entities=[entities.user], schema=kept, source=PushSource(name="push", batch_source=table), ttl=ttl)
        self.store.apply([entities.user, view])

    def write(self, rows: Sequence[dict[str, Any]], fields: dict[str, FeastType]) -> None:
        self.store.write_to_online_store(
            VIEW, pd.DataFrame(rows, columns=[schema.USER_ID, schema.FEATURE_TIME, schema.KNOWN_TIME, *fields])
        )

    def feasts_own(self, users: Sequence[str], names: Sequence[str]) -> dict[str, list[Any]]:
        asked = [{schema.USER_ID: user} for user in users]
        found: dict[str, list[Any]] = self.store.get_online_features(
            features=[f"{VIEW}:{name}" for name in names], entity_rows=asked
        ).to_dict()
        return found

    def ours(self, read: Callable[[PackedView], Any]) -> Any:
        async def asked() -> Any:
            redis = Redis(RedisAddress.parse(f"redis://{self.address}"))
            try:
                return await read(PackedView(redis, VIEW))
            finally:
                await redis.close()

        return uvloop.run(asked())


@pytest.fixture
def opened(start_redis: StartRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    port = free_port()
    start_redis(port)
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{port}")
    found = FeatureStore(repo_path=str(tmp_path), fs_yaml_file=Path(store.__file__).with_name(store.REDIS))
    yield Opened(address=f"127.0.0.1:{port}", store=found)
    asyncio.run(found.close())


def row(user: str, happened: datetime, known: datetime | None = None, **values: Any) -> dict[str, Any]:
    return {schema.USER_ID: user, schema.FEATURE_TIME: happened, schema.KNOWN_TIME: known or happened, **values}


def test_values_of_every_type_are_what_feast_reads(opened: Opened) -> None:
    opened.apply(SCHEMA)
    full: dict[str, Any] = {
        "f4": np.float32(0.1), "f8": 0.1, "i4": -(2**31), "i8": 2**53, "yes": True, "text": "ünï ✓", "raw": b"\0\xff", "at": START,
        "f4s": [np.float32(0.1)], "f8s": [0.1, 2.0], "i4s": [1, 2], "i8s": [2**60], "texts": ["", "a", "ü" * 200],
    }  # fmt: skip
    opened.write([row("full", START, **full), row("empty", START, **dict.fromkeys(SCHEMA))], SCHEMA)
    users = ["full", "nobody", "empty", "full"]
    expected = opened.feasts_own(users, list(SCHEMA))
    for name in set(SCHEMA) - {"at"}:
        found = opened.ours(partial(PackedView.values, entities=users, name=name))
        assert found == expected[name], name
    assert expected["texts"] == [full["texts"], None, None, full["texts"]]
    assert opened.ours(lambda view: view.values(["full"], "at")) == [int(START.timestamp())]
    numbers = opened.ours(lambda view: view.numbers(users, [*NUMBERS, "text", "no such"])).values
    wanted = np.array([expected[name] for name in NUMBERS], dtype=float).T
    np.testing.assert_array_equal(numbers[:, : len(NUMBERS)], wanted)
    assert np.isnan(numbers[:, len(NUMBERS) :]).all()


TIMESTAMP = some.integers(0, 3)
WRITES = some.lists(some.lists(some.tuples(some.sampled_from("ab"), TIMESTAMP, TIMESTAMP), min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES)
def test_the_newest_stays_in_whatever_order_rows_are_written(opened: Opened, writes: list[list[tuple[str, int, int]]]) -> None:
    fields: dict[str, FeastType] = {"i8": Int64}
    opened.apply(fields)
    opened.redis.flushall()
    held: dict[str, tuple[int, int, int]] = {}
    number = 0
    for write in writes:
        rows = []
        for user, happened, known in write:
            number += 1
            rows.append(row(user, START + timedelta(microseconds=happened), START + timedelta(microseconds=known), i8=number))
            if user not in held or (happened, known) >= held[user][:2]:
                held[user] = (happened, known, number)
        opened.write(rows, fields)
        found = opened.ours(lambda view: view.values("ab", "i8"))
        assert found == [held[user][2] if user in held else None for user in "ab"]


def test_a_view_that_gains_a_feature_is_read_on_before_and_after_it_is_filled(opened: Opened) -> None:
    before: dict[str, FeastType] = {"f4": Float32, "texts": Array(String)}
    after: dict[str, FeastType] = {"f4": Float32, "extra": Float32, "texts": Array(String)}
    opened.apply(before)
    opened.write([row(user, START, f4=1.0, texts=["x"]) for user in ("old", "new")], before)
    opened.apply(after)
    names, users = ["f4", "extra"], ["old", "new"]

    async def read(view: PackedView) -> list[Any]:
        seen = [(await view.numbers(users, names)).values]
        opened.write([row("new", START + timedelta(1), f4=2.0, extra=3.0, texts=["y"])], after)
        return [*seen, (await view.numbers(users, names)).values, await view.values(users, "texts")]

    first, second, texts = opened.ours(read)
    np.testing.assert_array_equal(first, [[1, np.nan], [1, np.nan]])
    np.testing.assert_array_equal(second, [[1, np.nan], [2, 3]])
    assert texts == [["x"], ["y"]]
    assert opened.feasts_own(users, names) == {schema.USER_ID: users, "f4": [1, 2], "extra": [None, 3]}


def test_what_is_too_old_is_not_there(opened: Opened) -> None:
    fields: dict[str, FeastType] = {"f4": Float32}
    opened.apply(fields, ttl=timedelta(hours=1))
    now = datetime.now(UTC)
    ages = {"fresh": 0, "nearly": 59, "just": 60.5, "long": 10_000}
    opened.write([row(user, now - timedelta(minutes=age), f4=1.0) for user, age in ages.items()], fields)
    assert opened.ours(lambda view: view.values([*ages], "f4")) == [1, 1, None, None]
    assert opened.feasts_own([*ages], ["f4"])["f4"] == [1, 1, None, None]


def test_a_view_that_is_gone_leaves_nothing_and_others_stay(opened: Opened) -> None:
    fields: dict[str, FeastType] = {"f4": Float32}
    opened.apply(fields)
    opened.write([row(f"u{number}", START, f4=1.0) for number in range(ROWS_AT_ONCE + 5)], fields)
    redis = opened.redis
    redis.hset(rows_key(schema.FEAST_PROJECT, "", f"{VIEW}2"), "u0", "of another view")
    opened.store.apply([], objects_to_delete=[opened.store.get_feature_view(VIEW)], partial=False)
    assert redis.keys() == [rows_key(schema.FEAST_PROJECT, "", f"{VIEW}2")]


def test_rows_that_were_changed_by_others_are_an_error_and_not_a_value(opened: Opened) -> None:
    fields: dict[str, FeastType] = {"f4": Float32}
    opened.apply(fields)
    opened.write([row("u", START, f4=1.0)], fields)
    redis = opened.redis
    key = rows_key(schema.FEAST_PROJECT, "", VIEW)
    whole = redis.hget(key, "u")
    redis.hset(key, "u", whole[:-1])
    for read in (lambda view: view.values(["u"], "f4"), lambda view: view.numbers(["u"], ["f4"])):
        with pytest.raises(ValueError, match=r"row of f4|is truncated"):
            opened.ours(read)
    redis.hset(key, "u", b"\0\0\0\0" + whole[4:])  # of a layout that nobody has written down
    assert opened.ours(lambda view: view.values(["u"], "f4")) == [None]
    assert opened.feasts_own(["u"], ["f4"])["f4"] == [None]


@pytest.mark.parametrize("option", [{"redis_type": "redis_cluster"}, {"key_ttl_seconds": 60}, {"skip_dedup": True}, {"client": "glide"}])
def test_an_option_that_would_be_ignored_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))}.*remove it"):
        PackedRedisOnlineStoreConfig(connection_string="127.0.0.1:6379", **option)


def test_a_row_from_before_1970_with_a_time_to_live_does_not_keep_others_from_being_written(opened: Opened) -> None:
    fields: dict[str, FeastType] = {"f4": Float32}
    opened.apply(fields, ttl=timedelta(hours=1))
    opened.write([row("old", datetime(1960, 1, 1, tzinfo=UTC), f4=1.0), row("new", datetime.now(UTC), f4=2.0)], fields)
    assert opened.ours(lambda view: view.values(["old", "new"], "f4")) == [None, 2]
