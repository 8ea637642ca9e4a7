"""Whatever else an HTTPRoute holds: its share is split, and given back as it was."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lodestar.errors import EnvironmentFault
from serving.rollout.http_route import Backends, canary_percent, join, split
from tests.contract.kustomize import merged

OURS = Backends(namespace="lodestar", stable="recommend-predictor", canary="recommend-canary-predictor")
Object = dict[str, Any]


def own(**fields: Any) -> Object:
    return {"name": OURS.stable, "port": 80, **fields}


hundreds = st.integers(0, 50).map(lambda part: {"weight": 100 * part})
extras = st.sampled_from(
    [{}, {"kind": "Service", "group": ""}, {"namespace": "lodestar"}, {"filters": [{"type": "RequestHeaderModifier"}]}]
)
stables = st.builds(lambda weight, extra: own(**weight, **extra), hundreds, extras)
others = st.sampled_from(
    [
        {"name": "collector", "port": 80},
        {"name": "recommend-predictor-2", "port": 80, "weight": 3},
        {"name": OURS.stable, "namespace": "elsewhere", "weight": 7},
        {"name": OURS.stable, "group": "example.com", "kind": "Pool", "weight": 7},
    ]
)
mixed = st.lists(stables | others, max_size=4)
alone = st.builds(lambda fields: [own(**fields)], st.sampled_from([{}, {"weight": 0}, {"weight": 1}, {"weight": 7}, {"weight": 100}]))
rule = st.builds(
    lambda refs, more: {**refs, **more},
    st.builds(lambda refs: {"backendRefs": refs}, mixed | alone) | st.just({}),
    st.sampled_from([{}, {"timeouts": {"request": "2s"}}, {"matches": [{"path": {"value": "/v1/events"}}], "newer": [1]}]),
)
routes = st.builds(
    lambda rules, noted: {"metadata": {"name": "recommend-split", "annotations": noted}, "spec": {"rules": rules, "hostnames": ["h"]}},
    st.lists(rule, min_size=1, max_size=4),
    st.sampled_from([{}, {"owner": "someone"}]),
)


def entries(route: Object) -> list[Object]:
    refs = [ref for rule in route["spec"]["rules"] for ref in rule.get("backendRefs", [])]
    return [
        ref for ref in refs if ref["name"] == OURS.stable and ref.get("namespace", "lodestar") == "lodestar" and "Pool" not in ref.values()
    ]


@given(routes, st.lists(st.integers(1, 99), min_size=1, max_size=3))
def test_what_was_split_is_joined_as_it_was(route: Object, percents: list[int]) -> None:
    before, live = copy.deepcopy(route), route
    if not entries(route):
        with pytest.raises(EnvironmentFault, match="E570"):
            split(route, OURS, percents[0])
        return
    for percent in percents:
        live = merged(live, split(live, OURS, percent))
    assert canary_percent(live, OURS) in {0, percents[-1]}
    assert merged(live, join(live, OURS)) == before


@given(routes, st.integers(1, 99))
def test_nothing_but_the_own_entries_is_touched(route: Object, percent: int) -> None:
    if not entries(route):
        return
    live = merged(route, split(route, OURS, percent))
    for old, new in zip(route["spec"].pop("rules"), live["spec"].pop("rules"), strict=True):
        kept = [ref for ref in new.pop("backendRefs", []) if ref["name"] != OURS.canary]
        assert [ref | {"weight": 0} for ref in kept] == [ref | {"weight": 0} for ref in old.get("backendRefs", [])]
        assert [ref for ref in kept if ref not in entries({"spec": {"rules": [{"backendRefs": kept}]}})] == [
            ref for ref in old.pop("backendRefs", []) if ref not in entries({"spec": {"rules": [{"backendRefs": [ref]}]}})
        ]
        assert old == new
    assert live["spec"] == route["spec"]


def test_a_weight_beside_others_is_kept_as_a_sum_or_refused() -> None:
    rules = [{"backendRefs": [own(weight=200), {"name": "other", "weight": 50}]}]
    route = {"metadata": {"name": "recommend-split"}, "spec": {"rules": rules}}
    (changed,) = split(route, OURS, 10)["spec"]["rules"]
    assert [ref["weight"] for ref in changed["backendRefs"]] == [180, 20, 50]
    rules[0]["backendRefs"][0]["weight"] = 1
    with pytest.raises(EnvironmentFault, match=r"E571.*recommend-split.*weight of 1 .*10 %.*by 100"):
        split(route, OURS, 10)


@pytest.mark.parametrize("noted", [{}, {"lodestar/stable-weights": "none"}, {"lodestar/stable-weights": "[1, 2]"}])
def test_without_a_note_the_parts_are_summed_up(noted: Object) -> None:
    refs = [own(weight=90), {"name": OURS.canary, "port": 80, "weight": 10}]
    route = {"metadata": {"name": "recommend-split", "annotations": noted}, "spec": {"rules": [{"backendRefs": refs}]}}
    assert join(route, OURS)["spec"]["rules"] == [{"backendRefs": [own(weight=100)]}]


def test_an_entry_that_its_owner_has_written_anew_stays() -> None:
    split_one = [own(weight=270), {"name": OURS.canary, "port": 80, "weight": 30}, {"name": "other", "weight": 1}]
    rules = [{"backendRefs": [own(weight=50), {"name": "other", "weight": 50}]}, {"backendRefs": split_one}]
    noted = {"lodestar/stable-weights": "[100, 300]"}
    route: Object = {"metadata": {"name": "recommend-split", "annotations": noted}, "spec": {"rules": rules}}
    anew, joined = join(route, OURS)["spec"]["rules"]
    assert anew == {"backendRefs": [own(weight=50), {"name": "other", "weight": 50}]}
    assert joined == {"backendRefs": [own(weight=300), {"name": "other", "weight": 1}]}
