"""Whatever is sent, the answer is a list or a refusal that says why, never a fault of ours."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(tmp_path_factory.mktemp("served"))


def check(status: int, content: bytes) -> None:
    assert status in {200, 413, 422}, content
    if status != 200:
        assert set(json.loads(content)) == {"code", "field", "message"}


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
