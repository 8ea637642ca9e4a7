"""A request that breaks a rule is refused by code and field; what is not said has a default."""

import json
from typing import Any

import pytest

from lodestar import schema
from serving.requests import DEFAULT_K, MAX_INSTANCES, MAX_K, MAX_TOTAL_K, InvalidRequest, RecommendRequest, from_body, from_query


def body(*instances: Any) -> bytes:
    return json.dumps({"instances": list(instances)}).encode()


def test_a_query_says_whom_how_many_and_what_not() -> None:
    assert from_query(b"user=u%C3%A9&k=3&exclude=a,b&surface=cart") == RecommendRequest(user="ué", k=3, exclude=("a", "b"), surface="cart")


def test_an_id_with_a_comma_is_left_out_as_it_is() -> None:
    assert from_query(b"user=u&exclude=a,b&exclude=c").exclude == ("a,b", "c")
    assert from_query(b"user=u&exclude=a,b&exclude=").exclude == ("a,b",)
    assert from_body(body({"user": "u", "exclude": ["a,b"]}))[0].exclude == ("a,b",)


def test_items_are_left_out_under_both_forms_of_their_ids() -> None:
    assert from_query(b"user=u&exclude=5.0,%206,7").exclude == ("5.0", " 6", "7", "5", "6")


def test_a_session_stands_for_a_user() -> None:
    assert from_query(b"session=%20s1").user == "session:s1"
    assert from_body(body({"session": "5.0"}))[0].user == "session:5"


def test_what_is_not_said_has_a_default() -> None:
    assert from_query(b"user=u1") == RecommendRequest(user="u1", k=DEFAULT_K, exclude=(), surface="home")


@pytest.mark.parametrize(("text", "k"), [(b"1", 1), (b"1000", MAX_K), (b"007", 7), (b"0" * 5000 + b"12", 12)])
def test_a_length_is_a_number_however_it_is_written(text: bytes, k: int) -> None:
    assert from_query(b"user=u&k=" + text).k == k


def test_instances_are_objects_or_plain_users() -> None:
    assert from_body(body({"user": "a", "k": 2}, "b")) == [RecommendRequest(user="a", k=2), RecommendRequest(user="b")]


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        (b"", "E101", "user"),
        (b"k=3", "E101", "user"),
        (b"user=", "E103", "user"),
        (b"user=%ff", "E104", ""),
        (b"user=\xff", "E104", ""),
        (b"user=" + b"x" * (schema.MAX_ID_BYTES + 1), "E103", "user"),
        (b"user=" + b"%C3%A9" * 65, "E103", "user"),
        (b"user=u&k=0", "E102", "k"),
        (b"user=u&k=-1", "E102", "k"),
        (b"user=u&k=1000000", "E102", "k"),
        (b"user=u&k=" + b"9" * 100_000, "E102", "k"),
        (b"user=u&k=ten", "E107", "k"),
        (b"user=u&k=1.5", "E107", "k"),
        (b"user=u&k=", "E107", "k"),
        (b"user=u&k=%D9%A3", "E107", "k"),
        (b"user=u&surface=a%20b", "E107", "surface"),
        (b"user=u&kk=3", "E446", "kk"),
        (b"user=u&exclude=" + b",".join([b"i"] * 1001), "E102", "exclude"),
        (b"user=u&surface=" + b"a" * 33, "E107", "surface"),
        (b"user=u&user=v", "E173", ""),
        (b"user=u&k=1&exclude=a&exclude=b&k=1", "E173", ""),
        (b"user=%20%20", "E103", "user"),
        (b"session=", "E103", "session"),
        (b"user=u&session=s", "E101", "user"),
        (b"&".join([b"a=1"] * 20), "E442", ""),
    ],
)
def test_a_query_that_breaks_a_rule_is_refused(query: bytes, code: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        from_query(query)
    assert (refused.value.status, refused.value.code, refused.value.field) == (422, code, field)


@pytest.mark.parametrize(
    ("content", "code", "field"),
    [
        (b"", "E440", ""),
        (b"{bad", "E440", ""),
        (b"\xff", "E440", ""),
        (b"[]", "E107", ""),
        (b"{}", "E101", "instances"),
        (b'{"instances": "u1"}', "E107", "instances"),
        (body(), "E102", "instances"),
        (body(*["u"] * (MAX_INSTANCES + 1)), "E102", "instances"),
        (body("a", 3), "E107", "instances[1]"),
        (body({"user": 3}), "E107", "instances[0].user"),
        (body({"k": 3}), "E101", "instances[0].user"),
        (body("x" * 1_000_000), "E103", "instances[0].user"),
        (body({"user": "u", "k": True}), "E107", "instances[0].k"),
        (body({"user": "u", "k": MAX_K + 1}), "E102", "instances[0].k"),
        (body({"user": "u", "exclude": [1]}), "E107", "instances[0].exclude"),
        (body({"user": "u", "exclude": "i1"}), "E107", "instances[0].exclude"),
        (body({"user": "u", "exclude": ["i"] * 1001}), "E102", "instances[0].exclude"),
        (body(*[{"user": "u", "k": MAX_K}] * (MAX_TOTAL_K // MAX_K + 1)), "E102", "instances"),
        (b'{"instances": ["\\ud800"]}', "E440", ""),
        (b"[" * 100_000, "E442", ""),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused(content: bytes, code: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        from_body(content)
    assert (refused.value.status, refused.value.code, refused.value.field) == (422, code, field)


def test_an_id_of_the_most_bytes_is_accepted() -> None:
    assert from_query(b"user=" + b"x" * schema.MAX_ID_BYTES).user == "x" * schema.MAX_ID_BYTES


def test_a_request_of_the_largest_total_k_is_accepted() -> None:
    assert len(from_body(body(*[{"user": "u", "k": MAX_K}] * (MAX_TOTAL_K // MAX_K)))) == MAX_TOTAL_K // MAX_K
    assert len(from_body(body(*["u"] * MAX_INSTANCES))) == MAX_INSTANCES
