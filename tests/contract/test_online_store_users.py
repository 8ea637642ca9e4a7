"""The Redis of the manifests, started as they say: steps fill it, predictors read it, and each is refused what is the other's."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import redis
import uvloop

from lodestar.schema.store_keys import KEPT_S
from serving.features.feature_client import connect
from tests.contract.conftest import StartRedis, generation_of, publish
from tests.contract.kustomize import OVERLAYS, rendered
from tests.ports import free_port
from tests.unit.test_features import built

PASSWORDS = {"PREDICTOR_PASSWORD": "reads-only", "PIPELINE_PASSWORD": "writes"}
PREDICTOR, PIPELINE = ("default", PASSWORDS["PREDICTOR_PASSWORD"]), ("pipeline", PASSWORDS["PIPELINE_PASSWORD"])


def started(tmp_path: Path, at: int, passwords: dict[str, str]) -> tuple[list[str], list[str]]:
    """The container's command and arguments, at a port of this machine with the rows in a folder of the test."""
    (store,) = [thing for thing in rendered(OVERLAYS / "online-store") if thing["kind"] == "StatefulSet"]
    (container,) = store["spec"]["template"]["spec"]["containers"]
    assert {entry["name"] for entry in container["env"]} == passwords.keys()
    (tmp_path / "data").mkdir()
    arguments = [re.sub(r"\$\((\w+)\)", lambda match: passwords[match[1]], part) for part in container["args"]]
    arguments[arguments.index("/data")] = str(tmp_path / "data")
    arguments[arguments.index("6379")] = str(at)
    arguments[1 : arguments.index("--port")] = ["127.0.0.1"]
    return container["command"], arguments


@pytest.fixture
def port(start_redis: StartRedis, tmp_path: Path) -> int:
    at = free_port()
    command, arguments = started(tmp_path, at, PASSWORDS)
    assert command[-1] == "redis-server"
    start_redis(at, *arguments)
    return at


def asked(port: int, login: tuple[str, str], *words: str) -> str:
    """What Redis says to one command; its refusals too."""
    try:
        with redis.Redis(port=port, username=login[0], password=login[1]) as client:
            return str(client.execute_command(*words))
    except redis.exceptions.RedisError as refused:
        return f"{type(refused).__name__} {refused}"


def test_steps_write_and_predictors_read(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features = built(tmp_path, [("u1", f"i{place}", 60 * place) for place in range(4)])
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{port}")
    monkeypatch.setenv("LODESTAR_REDIS_LOGIN", f"username=pipeline,password={PASSWORDS['PIPELINE_PASSWORD']}")
    publish(features, in_redis=True)

    async def read() -> tuple[str, ...]:
        client = connect(f"redis://127.0.0.1:{port}", PASSWORDS["PREDICTOR_PASSWORD"], generation=generation_of(features))
        try:
            (recent,) = await client.histories(["u1"])
            return recent.items
        finally:
            await client.close()

    assert uvloop.run(read()) == ("i0", "i1", "i2", "i3")


@pytest.mark.parametrize(
    "words", [("SET", "a", "b"), ("DEL", "a"), ("HSET", "a", "b", "c"), ("EVAL", "return 1", "0"), ("KEYS", "*"), ("SCAN", "0")]
)
def test_predictors_write_nothing(port: int, words: tuple[str, ...]) -> None:
    assert "NoPermissionError" in asked(port, PREDICTOR, *words)


@pytest.mark.parametrize("empty", sorted(PASSWORDS))
def test_an_empty_password_starts_nothing(empty: str, tmp_path: Path) -> None:
    passwords = PASSWORDS | {empty: ""}
    command, arguments = started(tmp_path, free_port(), passwords)
    ended = subprocess.run([*command, *arguments], env=os.environ | passwords, capture_output=True, text=True, timeout=10, check=False)
    assert ended.returncode != 0
    assert f"{empty} is empty in the Secret online-store: fill in online-store.env" in ended.stderr


def test_what_the_container_runs_is_redis_with_its_arguments(tmp_path: Path) -> None:
    command, _ = started(tmp_path, free_port(), PASSWORDS)
    ended = subprocess.run([*command, "--version"], env=os.environ | PASSWORDS, capture_output=True, text=True, timeout=10, check=False)
    assert ended.stdout.startswith("Redis server v=")


def test_predictors_say_which_rows_they_still_need(port: int) -> None:
    assert asked(port, PREDICTOR, "EXPIRE", "a", str(KEPT_S), "GT") == "False"


@pytest.mark.parametrize("words", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("ACL", "LIST"), ("KEYS", "*")])
def test_steps_manage_nothing(port: int, words: tuple[str, ...]) -> None:
    assert "NoPermissionError" in asked(port, PIPELINE, *words)


def test_nobody_else_enters(port: int) -> None:
    for login in (("nobody", "nothing"), ("default", "wrong"), ("pipeline", "wrong")):
        assert "AuthenticationError" in asked(port, login, "GET", "a")
