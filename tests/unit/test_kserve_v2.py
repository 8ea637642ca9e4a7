"""The open inference protocol: tensors come flat, nested or binary, and go out as they were asked for."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from lodestar.engine.recommender import PERSONAL, Recommendation
from serving.feature_log import RecommendResponse
from serving.kserve_v2 import OUTPUT_TENSORS, decode, encode
from serving.requests import InvalidRequest, RecommendRequest

USUAL = tuple(tensor["name"] for tensor in OUTPUT_TENSORS if tensor["name"] != "rating")


def request(*inputs: dict[str, Any], **rest: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **rest}).encode()


def user(*users: str, **changes: Any) -> dict[str, Any]:
    return {"name": "user", "datatype": "BYTES", "shape": [len(users)], "data": list(users)} | changes


def place(item: str, score: float, position: int) -> Recommendation:
    return Recommendation(item_id=item, title=f"Title {item}", category="a", score=score, position=position, retriever=PERSONAL)


def answers() -> list[RecommendResponse]:
    long = RecommendResponse(request_id="r1", user="a", retriever=PERSONAL, items=[place("i1", 2.5, 1), place("i2", 1.5, 2)])
    short = RecommendResponse(request_id="r2", user="b", retriever=PERSONAL, items=[place("é", 0.5, 1)])
    return [long, short]


@pytest.mark.parametrize("changes", [{}, {"shape": [2, 1]}, {"shape": [2, 1], "data": [["a"], ["b"]]}])
def test_users_come_flat_or_nested(changes: dict[str, Any]) -> None:
    assert decode(request(user("a", "b", **changes)), None).queries == [RecommendRequest(user="a"), RecommendRequest(user="b")]


def test_a_length_comes_as_a_parameter_or_as_a_tensor() -> None:
    assert decode(request(user("a"), parameters={"k": 3}), None).queries == [RecommendRequest(user="a", k=3)]
    tensor = {"name": "k", "datatype": "INT64", "shape": [1], "data": [4]}
    assert decode(request(user("a"), tensor), None).queries == [RecommendRequest(user="a", k=4)]


def test_binary_data_follow_the_json_in_the_order_of_the_inputs() -> None:
    texts, numbers = b"".join(struct.pack("<I", len(text)) + text for text in (b"a", "é".encode())), struct.pack("<i", 7)
    users = {"name": "user", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(texts)}}
    k = {"name": "k", "datatype": "INT32", "shape": [1], "parameters": {"binary_data_size": len(numbers)}}
    head = request(users, k)
    assert decode(head + texts + numbers, str(len(head))).queries == [RecommendRequest(user="a", k=7), RecommendRequest(user="é", k=7)]


def test_what_is_absent_may_be_null() -> None:
    inference = decode(request(user("a", parameters=None), id=None, parameters=None, outputs=None), None)
    assert (inference.queries, inference.id, inference.wanted) == ([RecommendRequest(user="a")], "", USUAL)


def test_an_answer_has_a_place_for_every_list_and_says_how_many_are_real() -> None:
    content, json_length = encode(decode(request(user("a", "b"), id="mine"), None), answers(), "recommend", "digest")
    said = json.loads(content)
    assert (said["id"], said["model_name"], said["model_version"], json_length) == ("mine", "recommend", "digest", None)
    tensors = {tensor["name"]: (tensor["shape"], tensor["data"]) for tensor in said["outputs"]}
    assert tensors["item_id"] == ([2, 2], ["i1", "i2", "é", ""])
    assert tensors["score"] == ([2, 2], [2.5, 1.5, 0.5, 0.0])
    assert tensors["count"] == ([2], [2, 1])
    assert tensors["request_id"] == ([2], ["r1", "r2"])


def test_without_an_id_the_first_list_names_the_answer() -> None:
    content, _ = encode(decode(request(user("a", "b")), None), answers(), "recommend", "digest")
    assert json.loads(content)["id"] == "r1"


def test_outputs_are_those_asked_for_as_binary_data_where_asked_for() -> None:
    wanted = [
        {"name": "score", "parameters": {"binary_data": True}},
        {"name": "count"},
        {"name": "item_id", "parameters": {"binary_data": True}},
    ]
    content, json_length = encode(decode(request(user("a", "b"), outputs=wanted), None), answers(), "recommend", "digest")
    assert json_length is not None
    said, raw = json.loads(content[:json_length]), content[json_length:]
    sizes = {tensor["name"]: tensor.get("parameters", {}).get("binary_data_size") for tensor in said["outputs"]}
    assert sizes == {"score": 16, "count": None, "item_id": 4 * 4 + 2 + 2 + 2}
    np.testing.assert_array_equal(np.frombuffer(raw[:16], "<f4"), [2.5, 1.5, 0.5, 0.0])
    assert raw[16:] == b"".join(struct.pack("<I", len(text)) + text for text in (b"i1", b"i2", "é".encode(), b""))


def test_one_output_may_stay_json_where_all_are_binary() -> None:
    wanted = [{"name": "score", "parameters": {"binary_data": False}}, {"name": "count"}]
    inference = decode(request(user("a"), outputs=wanted, parameters={"binary_data_output": True}), None)
    assert (inference.wanted, set(inference.binary)) == (("score", "count"), {"count"})


def test_all_outputs_may_be_asked_for_as_binary_data_at_once() -> None:
    inference = decode(request(user("a"), parameters={"binary_data_output": True}), None)
    assert inference.binary == set(USUAL)


@pytest.mark.parametrize(
    ("content", "header", "code"),
    [
        (b"{}", None, "E101"),
        (b'{"inputs": 3}', None, "E107"),
        (request(), None, "E101"),
        (request({"name": "who", "datatype": "BYTES", "shape": [1], "data": ["a"]}), None, "E107"),
        (request(user("a", datatype="FP32")), None, "E107"),
        (request(user("a", shape=[2])), None, "E107"),
        (request(user("a", shape=[True])), None, "E107"),
        (request(user("a", data="a")), None, "E107"),
        (request(user("a", data=None)), None, "E101"),
        (request(user("a", data=[3])), None, "E107"),
        (request(user("")), None, "E103"),
        (request(user("a"), parameters={"k": 0}), None, "E102"),
        (request(user("a"), parameters=[]), None, "E107"),
        (request(user("a"), id=7), None, "E107"),
        (request(user("a"), outputs=[{"name": "price"}]), None, "E102"),
        (request(user("a"), outputs=[{"name": "count"}, {"name": "count"}]), None, "E102"),
        (request(user("a"), {"name": "k", "datatype": "INT32", "shape": [2], "data": [1, 2]}), None, "E102"),
        (request(user("a", data=None, parameters={"binary_data_size": 9})), "5000", "E102"),
        (request(user("a")), "-1", "E102"),
        (request(user("a")), "9" * 5000, "E102"),
        (request(user("a")), "٣", "E102"),
        (request(user(*["a"] * 257)), None, "E102"),
        (request(user()), None, "E102"),
        (request(user("a"), user("b")), None, "E107"),
        (request(user("a", shape=[1, 1, 1])), None, "E107"),
        (request(user("a", shape=[-1])), None, "E107"),
        (request(user(*["a"] * 11), parameters={"k": 1000}), None, "E102"),
        (request(user("a"), parameters={"k": 1.0}), None, "E107"),
        (request(user("a"), {"name": "k", "datatype": "FP32", "shape": [1], "data": [1]}), None, "E107"),
        (request(user("a"), outputs={}), None, "E107"),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(content: bytes, header: str | None, code: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(content, header)
    assert (refused.value.status, refused.value.code) == (422, code)


@pytest.mark.parametrize("raw", [b"\x05\x00\x00\x00abc", b"\x01", b"\x01\x00\x00\x00\xff", b"\x00\x00\x00\x00" * 300_000])
def test_binary_texts_that_are_not_whole_or_too_many_are_refused(raw: bytes) -> None:
    head = request({"name": "user", "datatype": "BYTES", "shape": [len(raw) // 4], "parameters": {"binary_data_size": len(raw)}})
    with pytest.raises(InvalidRequest):
        decode(head + raw, str(len(head)))


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\x01\x00\x00\x00" * 2])
def test_a_binary_length_is_one_number(raw: bytes) -> None:
    k = {"name": "k", "datatype": "INT32", "shape": [len(raw) // 4], "parameters": {"binary_data_size": len(raw)}}
    head = request(user("a"), k)
    with pytest.raises(InvalidRequest, match="not one INT32"):
        decode(head + raw, str(len(head)))


def test_binary_data_that_no_input_takes_are_refused() -> None:
    head = request(user("a"))
    with pytest.raises(InvalidRequest, match="3 bytes of binary data belong to no input"):
        decode(head + b"abc", str(len(head)))
