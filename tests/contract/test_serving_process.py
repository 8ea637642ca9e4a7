"""The process that serves: what it imports, what it says when it cannot, and what becomes of its work when it stops."""

import inspect
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from lodestar import schema
from lodestar.bundle import bundle
from tests.contract.conftest import ROOT, StartRedis, StartServing, generation_of, publish
from tests.contract.test_serving import connection_to
from tests.factories import small_bundle
from tests.ports import free_port
from tests.unit.test_features import built

HEAVY = {"torch", "feast", "pandas", "duckdb", "pyarrow", "kfp", "kserve", "kubernetes", "onnx", "scipy", "boto3", "redis", "fastapi"}
BOUND_S, BACK_LIMIT_S = 2.0, 20


def test_the_process_imports_nothing_that_only_trains(made: Path) -> None:
    program = f"""
import asyncio, sys, httpx
from serving.__main__ import application, parser
from serving.http.connection_limits import Load
app = application(parser().parse_args(["--bundle", {str(made)!r}]), Load())
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return (await client.get("/v1/recommend?user=u1")).status_code
print(asyncio.run(ask()), *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    status, *modules = done.stdout.split()
    assert status == "200"
    assert not HEAVY & set(modules)


def test_a_caller_who_never_finishes_is_left(made: Path, start_serving: StartServing) -> None:
    server = start_serving("--bundle", made, before="import serving.http.request_limits; serving.http.request_limits.SLOW_S = 0.3")
    address = server.address
    for part in (b"GET /v2/health", b"POST /v1/models/recommend:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{", b"\r\n"):
        with connection_to(address) as connection:
            connection.sendall(part)
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"E408"' in answer
    with httpx.Client(base_url=address) as client:
        assert client.get("/v2/health/live").status_code == 200
        time.sleep(0.5)
        assert client.get("/v2/health/live").status_code == 200
    assert server.stop() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_keeps_what_it_logged(
    made: Path, start_serving: StartServing, tmp_path: Path, number: signal.Signals
) -> None:
    server = start_serving("--bundle", made, "--impressions", tmp_path / "log.jsonl")
    assert httpx.get(f"{server.address}/v1/recommend?user=u1&k=3").status_code == 200
    assert server.stop(number) == (0, "")
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_a_request_on_its_way_is_answered_before_the_process_stops(made: Path, start_serving: StartServing) -> None:
    server, body = start_serving("--bundle", made), b'{"instances": ["u1"]}'
    with connection_to(server.address) as connection:
        connection.sendall(b"POST /v1/models/recommend:predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body[:5]))
        time.sleep(0.2)
        server.process.terminate()
        time.sleep(0.3)
        connection.sendall(body[5:])
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
    assert server.ended() == (0, "")


def test_what_was_logged_is_in_the_object_store_when_the_process_stops(
    made: Path, start_serving: StartServing, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    server = start_serving("--bundle", made, "--impressions", f"{bucket}/impressions")
    answer = httpx.get(f"{server.address}/v1/recommend?user=u1&k=3").json()
    assert server.stop() == (0, "")
    parts = boto3.resource("s3").Bucket("models").objects.filter(Prefix="impressions/date=")
    rows = [json.loads(line) for part in parts for line in part.get()["Body"].read().splitlines()]
    assert [row[schema.REQUEST_ID] for row in rows] == [answer["request_id"]] * 3


def list_of(address: str, user: str) -> tuple[str, set[str]]:
    """What made the list, and its items; it must not take long."""
    started = time.monotonic()
    answer = httpx.get(f"{address}/v1/recommend", params={"user": user, "k": 12})
    assert (answer.status_code, time.monotonic() - started < BOUND_S) == (200, True)
    return answer.json()["retriever"], {place["item_id"] for place in answer.json()["items"]}


def test_a_store_that_goes_costs_histories_and_no_answer(
    start_serving: StartServing, start_redis: StartRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, unseen = free_port(), {f"i{place}" for place in range(4, 12)}
    redis = start_redis(port, "--dir", str(tmp_path), "--appendonly", "yes")
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{port}")
    rows = [(user, f"i{place}", 60 * place) for user in ("u1", "ünï ✓") for place in range(4)]
    made = small_bundle(tmp_path / "made", features=publish(built(tmp_path, rows), in_redis=True))
    server = start_serving("--bundle", made, "--online-store", f"redis://127.0.0.1:{port}")
    assert [list_of(server.address, user) for user in ("u1", "ünï ✓")] == [("personal", unseen)] * 2
    assert list_of(server.address, "nobody")[0] == "popular"
    redis.terminate()
    redis.wait()
    assert [list_of(server.address, "u1")[0] for _ in range(3)] == ["popular"] * 3
    assert "lodestar_feature_fallbacks_total 3.0" in httpx.get(f"{server.address}/metrics").text
    start_redis(port, "--dir", str(tmp_path), "--appendonly", "yes")
    deadline = time.monotonic() + BACK_LIMIT_S
    while list_of(server.address, "u1") != ("personal", unseen):
        assert time.monotonic() < deadline
    code, said = server.stop()
    assert code == 0
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING ", line) for line in said.splitlines())
    assert [line.partition(" ")[2].partition(":")[0] for line in said.splitlines()] == [
        "WARNING serving.predictor the online store fails",
        "WARNING serving.predictor the online store works again",
    ]


def test_a_generation_that_is_missing_is_reported_and_used_when_it_comes(
    start_serving: StartServing, start_redis: StartRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_redis(port := free_port())
    monkeypatch.setenv("LODESTAR_REDIS", f"127.0.0.1:{port}")
    features = built(tmp_path, [("u1", f"i{place}", 60 * place) for place in range(4)])
    generation = generation_of(features)
    server = start_serving(
        *("--bundle", small_bundle(tmp_path / "made", features=generation), "--online-store", f"redis://127.0.0.1:{port}")
    )
    assert [list_of(server.address, "u1")[0] for _ in range(2)] == ["popular"] * 2
    page = httpx.get(f"{server.address}/metrics").text
    assert "lodestar_feature_generation_missing_total 2.0" in page
    assert "lodestar_feature_fallbacks_total 2.0" in page
    assert httpx.get(f"{server.address}/v2/health/ready").status_code == 200
    publish(features, in_redis=True)
    deadline = time.monotonic() + BACK_LIMIT_S
    while list_of(server.address, "u1")[0] != "personal":
        assert time.monotonic() < deadline
    code, said = server.stop()
    assert code == 0
    assert f"the online store fails: it has no rows of generation {generation}\n" in server.said_before
    assert "the online store works again" in said


def test_what_cannot_be_served_is_said_by_code(made: Path, start_serving: StartServing, tmp_path: Path) -> None:
    altered, other = small_bundle(tmp_path / "altered"), tmp_path / "other"
    (altered / "items.npz").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(inspect.unwrap(bundle.BundleInfo.__init__).__kwdefaults__, "schema_hash", "of another version")
        small_bundle(other)
    with socket.create_server(("127.0.0.1", 0)) as busy:
        cases: list[tuple[list[Any], int, str]] = [
            (["--bundle", tmp_path / "none"], 3, "E152"),
            (["--bundle", altered], 3, "E156"),
            (["--bundle", other], 3, "E150"),
            (["--bundle", made, "--online-store", "sqlite:/nowhere.db"], 5, "E504"),
            (["--bundle", made, "--online-store", "mysql://here"], 2, "sqlite:PATH"),
            (["--bundle", made, "--online-store", "redis://here:port"], 2, "redis://HOST:PORT/DB"),
            (["--bundle", made, "--impressions", tmp_path], 5, "E505"),
            (["--bundle", made, "--model-name", "a/b"], 2, "'a/b' is no name"),
            (["--bundle", made, "--port", "65536"], 2, "is no port"),
            (["--bundle", made, "--port", str(busy.getsockname()[1])], 5, "E503"),
            (["--bundle", made, "--host", "192.0.2.1"], 5, "E503"),
        ]
        running = [start_serving(*options) for options, _, _ in cases]
        for server, (_, code, text) in zip(running, cases, strict=True):
            ended, said = server.ended()
            assert (ended, text in said, "Traceback" in said) == (code, True, False), said
