"""What is read from Feast's online stores without Feast equals what Feast reads."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from feature_repo import store
from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from serving.feast_layout import texts
from serving.features import Features, Histories, StoreFailed, connect
from tests.unit.test_features import built

USERS = ("u0", "ünïcode ✓", "x" * schema.MAX_ID_BYTES, "a,b=c", "%")
START_LIMIT_S, BOUND_S = 20, 2.0


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [(user, f"i{(place * 3 + step) % 9}", 3600 * step) for place, user in enumerate(USERS) for step in range(4 + place)]
    return built(tmp_path_factory.mktemp("features"), rows)


@pytest.fixture(scope="module")
def sqlite(features: Path) -> Path:
    store.publish(features)
    return features / "online" / "online.db"


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = _redis(port)
    yield f"127.0.0.1:{port}"
    server.terminate()
    server.wait()


def _redis(port: int) -> subprocess.Popen[bytes]:
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return server
        time.sleep(0.05)
    pytest.fail("redis did not start")


def read(client: Features, users: Sequence[str]) -> Histories:
    async def asked() -> Histories:
        try:
            return await client.histories(users)
        finally:
            await client.close()

    return asyncio.run(asked())


def feasts_own(features: Path, *, in_redis: bool = False) -> list[tuple[str, ...]]:
    with store.opened(features, in_redis=in_redis) as found:
        service = found.get_feature_service(schema.RETRIEVAL_SERVICE)
        answer = found.get_online_features(features=service, entity_rows=[{schema.USER_ID: user} for user in USERS]).to_dict()
    return [tuple(items) for items in answer[schema.RECENT_ITEMS]]


def expected(features: Path) -> list[tuple[str, ...]]:
    rows = pd.read_parquet(features / "data" / f"{schema.USER_SEQUENCE_VIEW}.parquet").to_dict("records")
    items = {row[schema.USER_ID]: tuple(row[schema.RECENT_ITEMS]) for row in rows}
    return [items[user] for user in USERS]


def test_sqlite_gives_what_feast_gives(features: Path, sqlite: Path) -> None:
    ours = read(connect(f"sqlite:{sqlite}"), USERS)
    assert ours == feasts_own(features) == expected(features)


def test_redis_gives_what_feast_gives(features: Path, redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODESTAR_REDIS", redis)
    copy = shutil.copytree(features, tmp_path / "features")
    store.publish(copy, in_redis=True)
    ours = read(connect(f"redis://{redis}"), USERS)
    assert ours == feasts_own(copy, in_redis=True) == expected(copy)
    assert read(connect(f"redis://{redis}"), USERS[:1]) == ours[:1]


def test_a_user_who_is_not_known_has_no_history(sqlite: Path, redis: str) -> None:
    for address in (f"sqlite:{sqlite}", f"redis://{redis}", "none"):
        assert read(connect(address), ["nobody", "x"]) == [(), ()]


def test_a_store_that_is_gone_fails_in_time(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        for address in ("redis://127.0.0.1:9", f"redis://127.0.0.1:{silent.getsockname()[1]}"):
            with pytest.raises(StoreFailed):
                read(connect(address), ["u0"])
        assert time.monotonic() - started < BOUND_S
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreFailed, match="no such table"):
        read(connect(f"sqlite:{tmp_path / 'empty.db'}"), ["u0"])


def test_a_store_that_comes_back_is_read_again(redis: str) -> None:
    host = redis.partition(":")[0]
    with socket.socket() as probe:
        probe.bind((host, 0))
        other = probe.getsockname()[1]

    async def asked() -> Histories:
        client = connect(f"redis://{host}:{other}")
        with pytest.raises(StoreFailed):
            await client.histories(["u0"])
        server = _redis(other)
        try:
            return await client.histories(["u0"])
        finally:
            await client.close()
            server.terminate()
            server.wait()

    assert asyncio.run(asked()) == [()]


def test_an_address_that_names_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sqlite:PATH"):
        connect("postgres://here")
    with pytest.raises(EnvironmentFault, match="E504"):
        connect(f"sqlite:{tmp_path / 'none.db'}")


def test_bytes_that_are_no_value_are_an_error() -> None:
    with pytest.raises(ValueError, match="not a Feast value"):
        texts(b"\xff\xff\xff")
    assert texts(b"") == texts(None) == ()
