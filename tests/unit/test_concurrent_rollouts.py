"""What others have in the route, write meanwhile, or begin beside a rollout, stays; a rollout that is ended takes back what it began."""

import signal
from typing import Any, get_args

import pytest

from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from serving.rollout import rollout
from serving.rollout.conditions import is_routed
from serving.rollout.kserve_api import ROUTE, SERVICE
from serving.rollout.record import rolled_back_bundles
from serving.rollout.state import CanaryMode, RolloutState, state
from tests.unit.rollout_fakes import CANARY, NAME, NEW, OLD, FakeApiServer, contents, start


def test_rules_for_other_services_and_what_others_wrote_into_a_rule_stay(use: Any) -> None:
    api = use(FakeApiServer())
    events = {"matches": [{"path": {"value": "/v1/events"}}], "backendRefs": [{"name": "collector", "port": 80}]}
    own = {"backendRefs": [{"name": f"{NAME}-predictor", "port": 80, "filters": [{"type": "Own"}]}], "sessionPersistence": {"type": "New"}}
    api.objects[ROUTE, f"{NAME}-split"]["spec"] = {"hostnames": ["h"], "rules": [events, own]}
    before = api.route()
    start()
    first, second = api.route()["spec"]["rules"]
    assert first == events
    assert second["sessionPersistence"] == own["sessionPersistence"]
    assert [(ref["name"], ref["weight"], ref["filters"]) for ref in second["backendRefs"]] == [
        (f"{NAME}-predictor", 90, [{"type": "Own"}]),
        (f"{CANARY}-predictor", 10, [{"type": "Own"}]),
    ]
    rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert api.route()["spec"] == before["spec"]
    assert rolled_back_bundles(api.live()) == [NEW]
    assert not api.route()["metadata"]["annotations"]


def test_a_route_that_does_not_send_to_the_service_is_refused_and_left_alone(use: Any) -> None:
    api = use(FakeApiServer())
    api.objects[ROUTE, f"{NAME}-split"]["spec"]["rules"] = [{"backendRefs": [{"name": "collector", "port": 80}]}]
    before = contents(api)
    with pytest.raises(EnvironmentFault, match=rf"E570.*no rule that sends to the Service {NAME}-predictor"):
        start()
    assert contents(api) == before


@pytest.mark.parametrize("labels", [{}, {"lodestar/canary-of": "another"}])
def test_a_service_that_happens_to_have_the_canarys_name_is_left_alone(use: Any, labels: dict[str, str]) -> None:
    api = use(FakeApiServer())
    theirs = {"metadata": {"name": CANARY, "resourceVersion": "7", "labels": labels}, "spec": {"predictor": {"model": {"storageUri": NEW}}}}
    api.objects[SERVICE, CANARY] = theirs
    before = contents(api)
    with pytest.raises(
        EnvironmentFault, match=rf"E574.*lodestar/{CANARY} that is not the canary of this service.*lodestar/canary-of={NAME}"
    ):
        start()
    assert contents(api) == before
    with pytest.raises(UsageError, match="nothing to roll back"):
        rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert contents(api)[SERVICE, CANARY] == before[SERVICE, CANARY]


@pytest.mark.parametrize("number", [0, 2])
def test_what_someone_else_writes_into_the_route_meanwhile_stays(use: Any, number: int) -> None:
    api = use(FakeApiServer())
    rule = {"backendRefs": [{"name": "collector", "port": 80}]}
    theirs = {"spec": {"rules": [rule, *api.route()["spec"]["rules"]]}}
    api.meanwhile[number] = lambda: api.change((ROUTE, f"{NAME}-split"), theirs)
    start()
    first, second = api.route()["spec"]["rules"]
    assert first == rule
    assert [ref["weight"] for ref in second["backendRefs"]] == [90, 10]


@pytest.mark.parametrize("number", [1, 2])
def test_of_two_rollouts_the_later_one_goes_on_and_the_earlier_one_leaves_it_alone(use: Any, number: int) -> None:
    api = use(FakeApiServer())
    other = "s3://b/other"
    api.meanwhile[number] = lambda: rollout.start_canary(NAME, other, 20)
    with pytest.raises(EnvironmentFault, match=rf"E573.*candidate is now {other} and not {NEW}.*status --service lodestar/{NAME}"):
        start()
    assert state(api.live()) == RolloutState(stable=OLD, candidate=other, percent=20, canary_mode="two-services")
    assert api.objects[SERVICE, CANARY]["spec"]["predictor"]["model"]["storageUri"] == other


@pytest.mark.parametrize(("form", "number"), [("two-services", 1), ("two-services", 2), ("two-services", 3), ("standard", 1)])
def test_a_termination_takes_back_what_was_begun(use: Any, form: str, number: int) -> None:
    api = use(FakeApiServer(canary_mode=form))
    before = contents(api)
    api.done[number] = lambda: signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        rollout.main(["start", "--service", NAME, "--bundle", NEW])
    assert ended.value.code == 143
    assert len(api.made) > number
    after = contents(api)
    if form == "two-services":
        assert after[ROUTE, f"{NAME}-split"]["metadata"].pop("annotations") == {}
    assert after == before


def test_a_termination_of_a_first_bundle_leaves_none(use: Any) -> None:
    api = use(FakeApiServer())
    api.objects[SERVICE, NAME]["spec"]["predictor"]["model"].pop("storageUri")
    before = contents(api)
    api.done[1] = lambda: signal.raise_signal(signal.SIGTERM)
    with pytest.raises(SystemExit):
        rollout.main(["start", "--service", NAME, "--bundle", NEW])
    assert len(api.made) == 2
    assert contents(api) == before


@pytest.mark.parametrize("form", get_args(CanaryMode)[1:])
def test_what_changed_between_asking_and_promoting_is_not_promoted(use: Any, form: str) -> None:
    api = use(FakeApiServer(canary_mode=form, mode="Knative" if form == "knative" else "Standard"))
    start()
    api.meanwhile[len(api.made)] = lambda: rollout.start_canary(NAME, "s3://b/other")
    with pytest.raises(LodestarError, match="E573"):
        rollout.promote_or_roll_back(NAME, is_promotion=True)
    assert state(api.live()).stable == OLD


def seen(generation: int = 2, **conditions: str) -> dict[str, Any]:
    """A route of generation 2, of which its gateway says this of the given one."""
    facts = [{"type": kind, "status": status, "observedGeneration": generation} for kind, status in conditions.items()]
    return {"metadata": {"generation": 2}, "status": {"parents": [{"parentRef": {"name": "main"}, "conditions": facts}]}}


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (seen(Accepted="True", ResolvedRefs="True"), seen(1, Accepted="True", ResolvedRefs="True"), True),
        (seen(1, Accepted="True", ResolvedRefs="True"), seen(1, Accepted="True", ResolvedRefs="True"), False),
        (seen(Accepted="True", ResolvedRefs="False"), seen(1, Accepted="True", ResolvedRefs="True"), False),
        (seen(Accepted="True", ResolvedRefs="False"), seen(1, Accepted="True", ResolvedRefs="False"), True),
        (seen(Accepted="True", BackendsAvailable="False"), seen(1, Accepted="True", BackendsAvailable="False"), True),
        (seen(Accepted="False"), seen(1, Accepted="False"), False),
        (seen(Accepted="True"), {}, True),
        (seen(), seen(1, Accepted="True"), False),
        ({"metadata": {"generation": 2}}, {}, False),
    ],
)
def test_a_rule_of_the_owners_that_leads_nowhere_holds_nothing_up(now: dict[str, Any], before: dict[str, Any], expected: bool) -> None:
    """It did before; what was true before has to be true of the changed route."""
    assert is_routed(now, before) is expected
