"""What a caller gets over HTTP: what KServe's own client and types expect, and that nothing that is sent hurts the server."""

import asyncio
import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from lodestar.bundle import bundle
from tests.contract.conftest import StartServing

ANSWER_LIMIT_S = 20


@pytest.fixture(scope="module")
def address(made: Path, start_serving: StartServing, tmp_path_factory: pytest.TempPathFactory) -> str:
    return start_serving("--bundle", made, "--impressions", tmp_path_factory.mktemp("log") / "impressions.jsonl").address


def connection_to(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=ANSWER_LIMIT_S)


@pytest.mark.parametrize("query", ["user=u&k=0", "user=u&k=1000000", "k=3", f"user={'x' * 1_000_000}", "user=%ff"])
def test_a_bad_query_is_refused_in_words(address: str, query: str) -> None:
    # httpx refuses to send an address this long.
    with connection_to(address) as connection:
        connection.sendall(f"GET /v1/recommend?{query} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        head, _, rest = connection.makefile("rb").read().partition(b"\r\n\r\n")
    assert (b" 414 " if len(query) > 65_534 else b" 422 ") in head.split(b"\r\n")[0]
    assert set(json.loads(rest)) == {"code", "field", "message"}


@pytest.mark.parametrize(
    ("body", "status"), [(b"{bad", 422), (b'{"instances": [{"user": "' + b"x" * 1_000_000 + b'"}]}', 422), (b"x" * 5_000_000, 413)]
)
def test_a_bad_body_is_refused_in_words(address: str, body: bytes, status: int) -> None:
    answer = httpx.post(f"{address}/v1/models/recommend:predict", content=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "field", "message", "error"}


def test_what_is_no_http_is_refused_and_the_next_caller_is_served(address: str) -> None:
    with connection_to(address) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, rest = connection.makefile("rb").read().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(rest)["code"] == "E400"
    for endless in (b"GET /", b"GET / HTTP/1.1\r\nX-Long: "):
        with connection_to(address) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(endless)
            for _ in range(1000):
                connection.sendall(b"x" * 100_000)
            pytest.fail("a hundred megabytes of a head were read")
    assert httpx.get(f"{address}/v1/recommend?user=u1").status_code == 200


def test_what_follows_a_refused_body_is_answered(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        assert client.post("/v1/models/recommend:predict", content=b"x" * 5_000_000).status_code == 413
        assert client.get("/v2/health/live").json() == {"live": True}


def test_requests_that_come_together_are_answered_in_turn(address: str) -> None:
    with connection_to(address) as connection:
        asked = [f"GET /v1/recommend?user={user}&k=1 HTTP/1.1\r\nHost: test\r\n" for user in ("a", "b", "c")]
        connection.sendall(("\r\n".join(asked) + "Connection: close\r\n\r\n").encode())
        assert re.findall(rb'"user":"(.)"', connection.makefile("rb").read()) == [b"a", b"b", b"c"]


def test_a_head_request_has_no_body(address: str) -> None:
    answer = httpx.head(f"{address}/v2/health/live")
    assert (answer.status_code, answer.content) == (200, b"")


def test_kserves_own_client_is_understood_and_understands(address: str, made: Path) -> None:
    from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

    users = InferInput(name="user", shape=[2, 1], datatype="BYTES")
    users.set_data_from_numpy(np.array([["u1"], ["é"]], dtype=np.object_), binary_data=True)
    k = InferInput(name="k", shape=[1], datatype="INT32", data=[3])

    async def asked() -> Any:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        try:
            states = [await client.is_server_live(address), await client.is_server_ready(address)]
            states.append(await client.is_model_ready(address, "recommend"))
            answer = await client.infer(address, InferRequest(model_name="recommend", infer_inputs=[users, k]), "recommend")
            with pytest.raises(httpx.HTTPStatusError, match="E102 k lies in"):
                await client.infer(address, InferRequest("recommend", [users], parameters={"k": 0}), "recommend")
            return states, answer
        finally:
            await client.close()

    states, answer = asyncio.run(asked())
    assert states == [True, True, True]
    assert answer.get_output_by_name("item_id").as_numpy().shape == (2, 3)
    assert len(set(answer.get_output_by_name("request_id").data)) == 2


def test_json_is_what_kserves_own_types_expect(address: str, made: Path) -> None:
    from kserve import InferResponse
    from kserve.protocol.rest import v2_datamodels as models

    body = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}]}
    answer = httpx.post(f"{address}/v2/models/recommend/infer", json=models.InferenceRequest(**body).model_dump()).json()
    models.InferenceResponse.model_validate(answer)
    response = InferResponse.from_rest(answer)
    assert (response.model_name, response.model_version) == ("recommend", bundle.load(made).digest)
    for path, kind in {
        "/v2": models.ServerMetadataResponse,
        "/v2/health/live": models.ServerLiveResponse,
        "/v2/health/ready": models.ServerReadyResponse,
        "/v2/models": models.ListModelsResponse,
        "/v2/models/recommend": models.ModelMetadataResponse,
        "/v2/models/recommend/ready": models.ModelReadyResponse,
    }.items():
        kind.model_validate(httpx.get(f"{address}{path}").json())


def test_binary_answers_are_read_by_kserves_own_types(address: str) -> None:
    from kserve import InferResponse

    body = {
        "inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}],
        "parameters": {"binary_data_output": True, "k": 3},
    }
    answer = httpx.post(f"{address}/v2/models/recommend/infer", json=body)
    response = InferResponse.from_bytes(answer.content, int(answer.headers["inference-header-content-length"]))
    assert response.get_output_by_name("score").as_numpy().shape == (1, 3)
