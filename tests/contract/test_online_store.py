"""What is read from Feast's online stores without Feast equals what Feast reads."""

import asyncio
import shutil
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
import uvloop

from feature_repo import store
from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.schema.store_keys import rows_table
from serving.features.feature_client import FeatureClient, Histories, StoreUnavailable, connect
from serving.features.user_history import UNKNOWN_USER, UserHistory
from tests.contract.conftest import StartRedis, generation_of, publish
from tests.ports import free_port
from tests.unit.test_features import built

USERS = ("u0", "ünïcode ✓", "x" * schema.MAX_ID_BYTES, "a,b=c", "%")
BOUND_S = 2.0
TABLE = rows_table(schema.FEAST_PROJECT, schema.USER_SEQUENCE_VIEW)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows: list[tuple[str, str, int]] = [
        (user, f"i{(place * 3 + step) % 9}", 3600 * step) for place, user in enumerate(USERS) for step in range(4 + place)
    ]
    return built(tmp_path_factory.mktemp("features"), rows)


@pytest.fixture(scope="module")
def sqlite(features: Path) -> Path:
    publish(features)
    return features / "online" / "online.db"


def read(client: FeatureClient, users: Sequence[str]) -> Histories:
    async def asked() -> Histories:
        try:
            return await client.histories(users)
        finally:
            await client.close()

    return uvloop.run(asked())


def feasts_own(features: Path, *, in_redis: bool = False) -> list[tuple[str, ...]]:
    with store.opened(features, in_redis=in_redis) as found:
        service = found.get_feature_service(schema.RETRIEVAL_SERVICE)
        answer = found.get_online_features(features=service, entity_rows=[{schema.USER_ID: user} for user in USERS]).to_dict()
    return [tuple(items) for items in answer[schema.RECENT_ITEMS]]


def expected(features: Path) -> Histories:
    rows = pd.read_parquet(features / "data" / f"{schema.USER_SEQUENCE_VIEW}.parquet").to_dict("records")
    known_us = {row[schema.USER_ID]: row[schema.KNOWN_TIME].value // 1000 for row in rows}
    return [UserHistory(tuple(row[schema.RECENT_ITEMS]), known_us[user]) for user in USERS for row in rows if row[schema.USER_ID] == user]


def items(histories: Histories) -> list[tuple[str, ...]]:
    return [history.items for history in histories]


def test_sqlite_gives_what_feast_gives(features: Path, sqlite: Path) -> None:
    ours = read(connect(f"sqlite:{sqlite}"), USERS)
    assert ours == expected(features)
    assert items(ours) == feasts_own(features)


@pytest.fixture(scope="module")
def in_redis(features: Path, redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The features, published to Redis too."""
    copy = shutil.copytree(features, tmp_path_factory.mktemp("in-redis") / "features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LODESTAR_REDIS", redis)
        assert publish(copy, in_redis=True) == generation_of(features)
        yield copy


def test_both_give_the_seconds_between_items_where_they_are_asked_for(sqlite: Path, in_redis: Path, redis: str) -> None:
    addresses, named = (f"sqlite:{sqlite}", f"redis://{redis}"), generation_of(in_redis)
    of_sqlite, of_redis = (read(connect(address, use_time_gaps=True, generation=named), USERS) for address in addresses)
    assert of_sqlite == of_redis
    assert [len(one.gaps_s) for one in of_sqlite] == [len(one.items) for one in of_sqlite]
    assert of_sqlite[-1].gaps_s == (0.0, *[3600.0] * (len(of_sqlite[-1].items) - 1))


def test_redis_gives_what_feast_gives(in_redis: Path, redis: str) -> None:
    ours = read(connect(f"redis://{redis}", generation=generation_of(in_redis)), USERS)
    assert ours == expected(in_redis)
    assert items(ours) == feasts_own(in_redis, in_redis=True)
    assert read(connect(f"redis://{redis}", generation=generation_of(in_redis)), USERS[:1]) == ours[:1]


def test_a_user_who_is_not_known_has_no_history(sqlite: Path, in_redis: Path, redis: str) -> None:
    for address in (f"sqlite:{sqlite}", f"redis://{redis}", "none"):
        assert read(connect(address, generation=generation_of(in_redis)), ["nobody", "x"]) == [UNKNOWN_USER, UNKNOWN_USER]


def test_a_store_that_is_published_again_is_read_anew(sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    shutil.copy(sqlite, path)
    client = connect(f"sqlite:{path}")
    with sqlite3.connect(sqlite) as source, sqlite3.connect(tmp_path / "next.db") as target:
        source.backup(target)
        target.execute(f'DELETE FROM "{TABLE}" WHERE entity = ?', (b"u0",))
    source.close()
    target.close()

    async def asked() -> Histories:
        first = await client.histories(["u0"])
        (tmp_path / "next.db").replace(path)
        second = await client.histories(["u0"])
        path.unlink()
        with pytest.raises(StoreUnavailable):
            await client.histories(["u0"])
        await client.close()
        return [*first, *second]

    first, second = uvloop.run(asked())
    assert len(first.items) > 0
    assert second == UNKNOWN_USER


def test_a_store_that_is_being_written_fails_in_time_and_is_read_afterwards(sqlite: Path, tmp_path: Path) -> None:
    shutil.copy(sqlite, tmp_path / "online.db")
    with sqlite3.connect(tmp_path / "online.db", isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        client = connect(f"sqlite:{tmp_path / 'online.db'}")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked"):
            uvloop.run(client.histories(USERS))
        assert time.monotonic() - started < BOUND_S
        writer.execute("ROLLBACK")
    writer.close()
    assert read(client, USERS[:1]) != [UNKNOWN_USER]


def test_a_store_that_does_not_answer_fails_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.features.redis.CONNECT_S", 0.02)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port, password in ((free_port(), None), (silent.getsockname()[1], None), (silent.getsockname()[1], "never accepted")):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                read(connect(f"redis://127.0.0.1:{port}", password), ["u0"])
            assert time.monotonic() - started < BOUND_S


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n\r\n", b"$3\r\nabc\r\n" * 2, b"-LOADING\r\n", b""])
def test_what_is_no_redis_is_a_store_that_fails(said: bytes) -> None:
    async def asked() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(said)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            with pytest.raises(StoreUnavailable):
                await client.histories(["u0"])
            await client.close()

    uvloop.run(asked())


def test_a_store_that_comes_back_is_read_again(start_redis: StartRedis) -> None:
    port = free_port()

    async def asked() -> Histories:
        client = connect(f"redis://127.0.0.1:{port}")
        with pytest.raises(StoreUnavailable):
            await client.histories(["u0"])
        server = start_redis(port)
        first = await client.histories(["u0"])
        server.kill()
        server.wait()
        with pytest.raises(StoreUnavailable):
            await client.histories(["u0"])
        start_redis(port)
        second = await client.histories(["u0"])
        await client.close()
        return [*first, *second]

    assert uvloop.run(asked()) == [UNKNOWN_USER, UNKNOWN_USER]


def test_a_store_that_hangs_for_long_is_connected_to_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.features.redis.STUCK_S", 0.12)

    async def asked() -> list[int]:
        connections: list[asyncio.StreamWriter] = []

        async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(writer)

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            client, counts = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"), []
            for _ in range(5):
                with pytest.raises(StoreUnavailable):
                    await client.histories(["u0", "u1"])
                counts.append(len(connections))
            await client.close()
            for connection in connections:
                connection.close()
        return counts

    counts = uvloop.run(asked())
    assert counts[:2] == [1, 1]
    assert counts[-1] == 2


def test_a_store_that_was_late_is_read_on(start_redis: StartRedis) -> None:
    port = free_port()
    server = start_redis(port)

    async def asked() -> Histories:
        client = connect(f"redis://127.0.0.1:{port}")
        await client.histories(["u0"])
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable):
            await client.histories(["u0", "u1", "u2"])
        server.send_signal(signal.SIGCONT)
        found = await client.histories(["u0", "u1"])
        await client.close()
        return found

    assert uvloop.run(asked()) == [UNKNOWN_USER, UNKNOWN_USER]


def test_many_requests_share_a_connection_and_keep_their_answers(in_redis: Path, redis: str) -> None:
    async def asked() -> list[Histories]:
        client = connect(f"redis://{redis}", generation=generation_of(in_redis))
        found = await asyncio.gather(*(client.histories(USERS[place % 5 :]) for place in range(100)))
        await client.close()
        return list(found)

    whole = expected(in_redis)
    assert uvloop.run(asked()) == [whole[place % 5 :] for place in range(100)]


def test_a_password_and_a_database_are_told_first(start_redis: StartRedis) -> None:
    port = free_port()
    start_redis(port, "--requirepass", "sëcret/1")
    where = f"127.0.0.1:{port}"
    for address, password in (
        (f"redis://{where}", "sëcret/1"),
        (f"redis://:s%C3%ABcret%2F1@{where}/3", None),
        (f"redis://default@{where}", "sëcret/1"),
    ):
        assert read(connect(address, password), ["u0"]) == [UNKNOWN_USER]
    for address in (f"redis://{where}", f"redis://:wrong@{where}", f"redis://:s%C3%ABcret%2F1@{where}/99"):
        with pytest.raises(StoreUnavailable):
            read(connect(address), ["u0"])


@pytest.mark.parametrize("address", ["postgres://here", "redis://", "redis://host:port", "redis://host/name", "rediss://:6379", "sqlite"])
def test_an_address_that_names_no_store_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--online-store takes"):
        connect(address)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("user_id,item_id\n" * 1000)
    for name in ("empty.db", "text.db", "none.db"):
        with pytest.raises(EnvironmentFault, match="E504"):
            connect(f"sqlite:{tmp_path / name}")


@pytest.mark.parametrize("row", [b"", b"\xff\xff\xff", b"\0" * 30, "cut"])
def test_bytes_that_are_no_row_are_a_store_that_fails(sqlite: Path, tmp_path: Path, row: bytes | str) -> None:
    shutil.copy(sqlite, tmp_path / "online.db")
    with sqlite3.connect(tmp_path / "online.db") as database:
        if isinstance(row, str):
            ((whole,),) = database.execute(f'SELECT row FROM "{TABLE}" WHERE entity = ?', (b"u0",)).fetchall()
            row = whole[: len(whole) // 2]
        database.execute(f'UPDATE "{TABLE}" SET row = ? WHERE entity = ?', (row, b"u0"))
    database.close()
    with pytest.raises(StoreUnavailable):
        read(connect(f"sqlite:{tmp_path / 'online.db'}"), ["u0"])
    assert read(connect(f"sqlite:{tmp_path / 'online.db'}"), USERS[1:2]) != [UNKNOWN_USER]
