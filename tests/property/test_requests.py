"""Whatever is sent, the answer is a list or a refusal that says why, never a fault of ours."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from lodestar import schema
from lodestar.engine.recommender import PERSONAL, Recommendation
from lodestar.schema import ids
from serving.feature_log import RecommendResponse
from serving.kserve_v2 import INTEGERS, OUTPUTS_BY_NAME, Inference, decode, encode
from serving.requests import MAX_INSTANCES, InvalidRequest, RecommendRequest, from_query
from tests.unit.test_app import Served

JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TENSOR = some.fixed_dictionaries(
    {},
    optional={
        "name": some.sampled_from(["user", "k", "other"]) | JSON,
        "datatype": some.sampled_from(["BYTES", "INT32", "FP32"]) | JSON,
        "shape": some.lists(some.integers(-2, 4), max_size=3) | JSON,
        "data": some.lists(some.text(max_size=3) | some.integers(-1, 5), max_size=4) | JSON,
        "parameters": some.fixed_dictionaries({}, optional={"binary_data_size": some.integers(-1, 40) | JSON}) | JSON,
    },
)
INFERENCE = some.fixed_dictionaries(
    {},
    optional={
        "inputs": some.lists(TENSOR, max_size=3) | JSON,
        "parameters": JSON,
        "outputs": some.lists(JSON, max_size=2) | JSON,
        "id": JSON,
    },
)
INSTANCE = some.fixed_dictionaries({}, optional={"user": JSON, "k": JSON, "exclude": JSON, "surface": JSON})
PREDICTION = some.fixed_dictionaries({"instances": some.lists(INSTANCE | JSON, max_size=3) | JSON})
PATHS = ("/v1/models/recommend:predict", "/v2/models/recommend/infer")


USERS = some.lists(
    some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=32).filter(ids.is_id), min_size=1, max_size=MAX_INSTANCES
)
PLACES = some.lists(
    some.tuples(some.text(max_size=9), some.text(max_size=9), some.floats(width=32, allow_nan=False, allow_infinity=False)), max_size=4
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("served"))


def check(status: int, content: bytes) -> None:
    assert status in {200, 413, 422}, content
    if status != 200:
        assert set(json.loads(content)) - {"error"} == {"code", "field", "message"}


@settings(max_examples=250)
@given(body=PREDICTION | INFERENCE, path=some.sampled_from(PATHS), length=some.none() | some.integers(-2, 400))
def test_any_object_is_answered_or_refused(served: Served, body: object, path: str, length: int | None) -> None:
    """Binary data follow the JSON now and then, after a length that is right more often than not."""
    head = json.dumps(body).encode()
    if length is None:
        answer = served.ask("POST", path, content=head)
    else:
        said = str(len(head) if length > 200 else length)
        answer = served.ask("POST", path, content=head + b"\x01\x00\x00\x00a", headers={"Inference-Header-Content-Length": said})
    check(answer.status_code, answer.content)


@settings(max_examples=100)
@given(body=some.binary(max_size=64), path=some.sampled_from(PATHS))
def test_any_bytes_are_answered_or_refused(served: Served, body: bytes, path: str) -> None:
    answer = served.ask("POST", path, content=body)
    check(answer.status_code, answer.content)


@settings(max_examples=150)
@given(query=some.dictionaries(some.sampled_from(["user", "k", "exclude", "surface"]), some.text(max_size=12)) | some.text(max_size=40))
def test_any_query_is_answered_or_refused(served: Served, query: dict[str, str] | str) -> None:
    answer = served.ask("GET", "/v1/recommend", params=query)
    check(answer.status_code, answer.content)


@given(query=some.binary(max_size=60) | some.binary(max_size=30).map(lambda query: b"user=u&k=%3" + query))
def test_any_bytes_of_a_query_are_an_ask_or_a_refusal(query: bytes) -> None:
    try:
        size, status = len(from_query(query).user.encode()), 200
    except InvalidRequest as refused:
        size, status = 1, refused.status
    assert status in {200, 422}
    assert 1 <= size <= schema.MAX_ID_BYTES


@given(users=USERS, k=some.integers(1, 39), kind=some.sampled_from(sorted(INTEGERS)), nested=some.booleans())
def test_binary_inputs_are_what_they_were(users: list[str], k: int, kind: str, nested: bool) -> None:
    texts = b"".join(struct.pack("<I", len(text)) + text for text in (user.encode() for user in users))
    number = np.array([k], INTEGERS[kind]).tobytes()
    shape = [len(users), 1] if nested else [len(users)]
    inputs = [
        {"name": "k", "datatype": kind, "shape": [1], "parameters": {"binary_data_size": len(number)}},
        {"name": "user", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": len(texts)}},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    assert decode(head + number + texts, str(len(head))).queries == [RecommendRequest(user=user, k=k) for user in users]


@given(lists=some.lists(PLACES, min_size=1, max_size=3), rating=some.none() | some.floats(1, 5, width=32))
def test_binary_outputs_say_what_json_says(lists: list[list[tuple[str, str, float]]], rating: float | None) -> None:
    answers = [
        RecommendResponse(
            request_id=f"r{number}",
            user="u",
            retriever=PERSONAL,
            items=[
                Recommendation(item, title, "", score, position, PERSONAL, rating) for position, (item, title, score) in enumerate(places)
            ],
        )
        for number, places in enumerate(lists)
    ]
    wanted = tuple(OUTPUTS_BY_NAME)
    asked = [Inference(queries=[], id="", wanted=wanted, binary=binary) for binary in (frozenset[str](), frozenset(wanted))]
    plain, _ = encode(asked[0], answers, "m", "d")
    content, length = encode(asked[1], answers, "m", "d")
    assert length is not None
    raw = content[length:]
    for spoken, packed in zip(json.loads(plain)["outputs"], json.loads(content[:length])["outputs"], strict=True):
        size = packed["parameters"]["binary_data_size"]
        assert (packed["name"], packed["shape"], unpacked(packed["datatype"], raw[:size])) == (
            spoken["name"],
            spoken["shape"],
            spoken["data"],
        )
        raw = raw[size:]
    assert raw == b""


def unpacked(datatype: str, raw: bytes) -> list[object]:
    if datatype != "BYTES":
        numbers = np.frombuffer(raw, {"FP32": "<f4", "INT32": "<i4"}[datatype]).tolist()
        return [None if np.isnan(number) else number for number in numbers]  # as JSON has what is no number
    texts: list[object] = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        texts.append(raw[4:end].decode())
        raw = raw[end:]
    return texts
