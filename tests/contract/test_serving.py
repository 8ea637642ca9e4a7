"""The process that serves: what it imports, what it says when it cannot, and that nothing a caller sends hurts it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
import pytest

from lodestar import bundle
from tests.factories import small_bundle

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "feast", "pandas", "duckdb", "pyarrow", "kfp", "kserve", "kubernetes", "onnx", "scipy"}
STOP_S = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("made") / "bundle")


def start(*options: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "serving", *map(str, options)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def port(stderr: IO[str] | None) -> int:
    assert stderr is not None
    line = stderr.readline()
    found = re.search(r":(\d+)/", line)
    assert found is not None, line + stderr.read()
    return int(found[1])


@pytest.fixture(scope="module")
def address(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process = start("--bundle", made, "--port", "0", "--impressions", tmp_path_factory.mktemp("log") / "impressions.jsonl")
    try:
        yield f"http://127.0.0.1:{port(process.stderr)}"
    finally:
        process.terminate()
        process.communicate(timeout=STOP_S)


@pytest.mark.parametrize("query", ["user=u&k=0", "user=u&k=1000000", "k=3", f"user={'x' * 1_000_000}", "user=%ff"])
def test_a_bad_query_is_refused_in_words(address: str, query: str) -> None:
    # httpx refuses to send an address this long.
    host, _, number = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(number)), timeout=STOP_S) as connection:
        connection.sendall(f"GET /v1/recommend?{query} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert b" 422 " in head.split(b"\r\n")[0]
    assert set(json.loads(rest)) == {"code", "field", "message"}


@pytest.mark.parametrize(
    ("body", "status"), [(b"{bad", 422), (b'{"instances": [{"user": "' + b"x" * 1_000_000 + b'"}]}', 422), (b"x" * 5_000_000, 413)]
)
def test_a_bad_body_is_refused_in_words(address: str, body: bytes, status: int) -> None:
    answer = httpx.post(f"{address}/v1/models/recommend:predict", content=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "field", "message"}


def test_what_is_no_http_is_refused_and_the_next_caller_is_served(address: str) -> None:
    host, _, number = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(number)), timeout=STOP_S) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection((host, int(number)), timeout=STOP_S) as connection:
        sent = 0
        try:
            for _ in range(100):
                sent += connection.send(b"x" * 100_000 if sent else b"GET /" + b"x" * 100_000)
        except ConnectionError:
            pass
    assert httpx.get(f"{address}/v1/recommend?user=u1").status_code == 200


def test_a_head_request_has_no_body(address: str) -> None:
    answer = httpx.head(f"{address}/v2/health/live")
    assert (answer.status_code, answer.content) == (200, b"")


def test_answers_are_what_kserves_own_types_expect(address: str, made: Path) -> None:
    from kserve import InferInput, InferRequest, InferResponse
    from kserve.protocol.rest import v2_datamodels as models

    asked = InferInput(name="user", shape=[2], datatype="BYTES")
    asked.set_data_from_numpy(np.array(["u1", "é"], dtype=np.object_), binary_data=True)
    content, length = InferRequest(model_name="recommend", infer_inputs=[asked], parameters={"k": 3}).to_rest()
    headers = {"Inference-Header-Content-Length": str(length)}
    answer = httpx.post(f"{address}/v2/models/recommend/infer", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    models.InferenceResponse.model_validate(answer.json())
    response = InferResponse.from_rest(answer.json())
    assert response.get_output_by_name("item_id").as_numpy().shape == (2, 3)
    models.ModelMetadataResponse.model_validate(httpx.get(f"{address}/v2/models/recommend").json())
    models.ServerMetadataResponse.model_validate(httpx.get(f"{address}/v2").json())
    assert response.model_version == bundle.load(made).digest


def test_binary_answers_are_read_by_kserves_own_types(address: str) -> None:
    from kserve import InferResponse

    body = {
        "inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}],
        "parameters": {"binary_data_output": True, "k": 3},
    }
    answer = httpx.post(f"{address}/v2/models/recommend/infer", json=body)
    response = InferResponse.from_bytes(answer.content, int(answer.headers["inference-header-content-length"]))
    assert response.get_output_by_name("score").as_numpy().shape == (1, 3)


def test_the_process_imports_nothing_that_only_trains(made: Path) -> None:
    program = f"""
import asyncio, sys, httpx
from serving.__main__ import _parser, application
app = application(_parser().parse_args(["--bundle", {str(made)!r}]))
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return (await client.get("/v1/recommend?user=u1")).status_code
print(asyncio.run(ask()), *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    status, *modules = done.stdout.split()
    assert status == "200"
    assert not HEAVY & set(modules)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_keeps_what_it_logged(made: Path, tmp_path: Path, stop: signal.Signals) -> None:
    process = start("--bundle", made, "--port", "0", "--impressions", tmp_path / "log.jsonl")
    answer = httpx.get(f"http://127.0.0.1:{port(process.stderr)}/v1/recommend?user=u1&k=3")
    process.send_signal(stop)
    _, said = process.communicate(timeout=STOP_S)
    assert (process.returncode, answer.status_code) == (0, 200)
    assert "Traceback" not in said
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_what_cannot_be_served_is_said_by_code(made: Path, tmp_path: Path) -> None:
    altered = small_bundle(tmp_path / "altered")
    (altered / "items.npz").write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        cases: list[tuple[list[Any], int, str]] = [
            (["--bundle", tmp_path / "none"], 3, "E152"),
            (["--bundle", altered], 3, "E152"),
            (["--bundle", made, "--features", "sqlite:/nowhere.db"], 5, "E504"),
            (["--bundle", made, "--features", "mysql://here"], 2, "sqlite:PATH"),
            (["--bundle", made, "--port", str(busy.getsockname()[1])], 5, "E503"),
        ]
        for options, code, text in cases:
            process = start("--port", "0", *options) if "--port" not in options else start(*options)
            _, said = process.communicate(timeout=STOP_S)
            assert (process.returncode, text in said, "Traceback" in said) == (code, True, False), said
