"""The Redis of the manifests, started as they say: steps fill it, predictors read it, and each is refused what is the other's."""

import re
from pathlib import Path

import pytest
import redis
import uvloop

from lodestar.schema.places import KEPT_S
from serving.features import connect
from tests.contract.conftest import StartRedis, free_port, generation_of, publish
from tests.contract.kustomize import OVERLAYS, rendered
from tests.unit.test_features import built

PASSWORDS = {"PREDICTOR_PASSWORD": "reads-only", "PIPELINE_PASSWORD": "writes"}
PREDICTOR, PIPELINE = ("default", PASSWORDS["PREDICTOR_PASSWORD"]), ("pipeline", PASSWORDS["PIPELINE_PASSWORD"])


@pytest.fixture
def port(start_redis: StartRedis, tmp_path: Path) -> int:
    (store,) = [thing for thing in rendered(OVERLAYS / "online-store") if thing["kind"] == "StatefulSet"]
    (container,) = store["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["redis-server"]
    assert {entry["name"] for entry in container["env"]} == PASSWORDS.keys()
    (tmp_path / "data").mkdir()
    arguments = [re.sub(r"\$\((\w+)\)", lambda match: PASSWORDS[match[1]], part) for part in container["args"]]
    arguments[arguments.index("/data")] = str(tmp_path / "data")
    at = free_port()
    arguments[arguments.index("6379")] = str(at)
    arguments[1 : arguments.index("--port")] = ["127.0.0.1"]
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


def test_predictors_say_which_rows_they_still_need(port: int) -> None:
    assert asked(port, PREDICTOR, "EXPIRE", "a", str(KEPT_S), "GT") == "False"


@pytest.mark.parametrize("words", [("FLUSHALL",), ("CONFIG", "GET", "*"), ("SHUTDOWN",), ("ACL", "LIST"), ("KEYS", "*")])
def test_steps_manage_nothing(port: int, words: tuple[str, ...]) -> None:
    assert "NoPermissionError" in asked(port, PIPELINE, *words)


def test_nobody_else_enters(port: int) -> None:
    for login in (("nobody", "nothing"), ("default", "wrong"), ("pipeline", "wrong")):
        assert "AuthenticationError" in asked(port, login, "GET", "a")
