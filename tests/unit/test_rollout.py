"""A new bundle takes its share and then all or nothing; how far it is stands in the objects themselves, in each of three forms."""

import copy
import json
import signal
from typing import Any, get_args

import pytest

from lodestar.errors import EnvironmentFault, UsageError
from serving.rollout import rollout
from serving.rollout.canary import CanaryFacts, detect
from serving.rollout.kserve_api import ROUTE, SERVICE
from serving.rollout.record import StableBundle, rolled_back_bundles
from serving.rollout.reversal import roll_back
from serving.rollout.state import CanaryMode, RolloutState, state
from tests.unit.rollout_fakes import CANARY, NAME, NEW, OLD, FakeApiServer, contents, start


def test_two_services_share_by_the_routes_weights(use: Any) -> None:
    api = use(FakeApiServer())
    start()
    assert api.weights() == {f"{NAME}-predictor": 90, f"{CANARY}-predictor": 10}
    second = api.objects[SERVICE, CANARY]["spec"]["predictor"]
    assert (second["model"]["storageUri"], second["model"]["args"], second["minReplicas"]) == (NEW, ["--arm=canary"], 1)
    assert state(api.live()) == RolloutState(stable=OLD, candidate=NEW, percent=10, canary_mode="two-services")


@pytest.mark.parametrize(("take", "bundle"), [(True, NEW), (False, OLD)])
def test_two_services_end_as_one(use: Any, take: bool, bundle: str) -> None:
    api = use(FakeApiServer())
    start()
    rollout.promote_or_roll_back(NAME, is_promotion=take)
    assert api.weights() == {f"{NAME}-predictor": 100}
    assert (SERVICE, CANARY) not in api.objects
    assert state(api.live()) == RolloutState(stable=bundle, candidate=None, percent=0, canary_mode=None)


@pytest.mark.parametrize(("take", "bundle"), [(True, NEW), (False, OLD)])
def test_kserves_own_canary_is_named_anew_and_ends_as_one(use: Any, take: bool, bundle: str) -> None:
    api = use(FakeApiServer(canary_mode="standard"))
    start()
    (entry,) = api.service()["spec"]["canary"]
    assert (entry["trafficPercent"], entry["predictor"]["model"]["storageUri"]) == (10, NEW)
    rollout.promote_or_roll_back(NAME, is_promotion=take)
    live = api.service()
    assert "canary" not in live["spec"]
    assert live["spec"]["predictor"].get("name") == (entry["predictor"]["name"] if take else None)
    assert state(api.live()).stable == bundle


def test_knative_mode_shares_by_its_own_setting_and_knows_the_bundle_before(use: Any) -> None:
    api = use(FakeApiServer(mode="Knative"))
    for percent in (10, 25):
        start(percent)
    predictor = api.service()["spec"]["predictor"]
    assert (predictor["canaryTrafficPercent"], predictor["model"]["storageUri"]) == (25, NEW)
    assert state(api.live()) == RolloutState(stable=OLD, candidate=NEW, percent=25, canary_mode="knative")


@pytest.mark.parametrize(("take", "bundle"), [(True, NEW), (False, OLD)])
def test_knative_mode_ends_with_one_bundle(use: Any, take: bool, bundle: str) -> None:
    api = use(FakeApiServer(mode="Knative"))
    start()
    rollout.promote_or_roll_back(NAME, is_promotion=take)
    assert "canaryTrafficPercent" not in api.service()["spec"]["predictor"]
    assert state(api.live()) == RolloutState(stable=bundle, candidate=None, percent=0, canary_mode=None)


def test_knative_mode_sends_nothing_to_the_candidate_while_it_goes_back(use: Any) -> None:
    api = use(FakeApiServer(mode="Knative"))
    start()
    first = roll_back("knative", NEW, StableBundle(bundle=OLD, predictor=None)).at_once[0](api.live())
    assert first is not None
    assert first["spec"]["predictor"] == {"canaryTrafficPercent": 0, "model": {"storageUri": OLD, "args": None}}


def test_knative_mode_keeps_the_traffic_where_it_is_while_the_old_bundle_loads(use: Any) -> None:
    """An undo that has no time to wait for it ends there, and a rollback goes on with it."""
    api = use(FakeApiServer(mode="Knative"))
    api.done[1] = lambda: signal.raise_signal(signal.SIGTERM)
    api.refuses = OLD
    with pytest.raises(SystemExit):
        rollout.main(["start", "--service", NAME, "--bundle", NEW])
    assert api.service()["spec"]["predictor"] | {"model": {}} == {"minReplicas": 2, "canaryTrafficPercent": 0, "model": {}}
    assert state(api.live()) == RolloutState(stable=OLD, candidate=None, percent=0, canary_mode=None)
    api.refuses = ""
    rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert "canaryTrafficPercent" not in api.service()["spec"]["predictor"]
    assert rolled_back_bundles(api.live()) == []


def test_knative_mode_names_the_arm_of_each_revision(use: Any) -> None:
    api = use(FakeApiServer(mode="Knative"))
    start()
    assert api.service()["spec"]["predictor"]["model"]["args"] == ["--arm=canary"]
    rollout.promote_or_roll_back(NAME, is_promotion=True)
    assert "args" not in api.service()["spec"]["predictor"]["model"]


@pytest.mark.parametrize("form", get_args(CanaryMode)[:2])
def test_pods_of_the_bundle_that_answers_are_left_alone(use: Any, form: str) -> None:
    api = use(FakeApiServer(canary_mode=form))
    before = contents(api)[SERVICE, NAME]
    start()
    after = contents(api)[SERVICE, NAME]
    assert (after["metadata"], after["spec"]["predictor"]) == (before["metadata"], before["spec"]["predictor"])


def test_what_the_routes_owner_wrote_stays(use: Any) -> None:
    api = use(FakeApiServer())
    api.objects[ROUTE, f"{NAME}-split"]["spec"]["rules"][0]["timeouts"] = {"request": "2s"}
    start()
    (rule,) = api.objects[ROUTE, f"{NAME}-split"]["spec"]["rules"]
    assert rule["timeouts"] == {"request": "2s"}
    assert len(rule["backendRefs"]) == 2


def test_another_process_goes_on_with_it(use: Any) -> None:
    api, other = use(FakeApiServer()), FakeApiServer()
    start()
    other.objects = copy.deepcopy(api.objects)
    use(other)
    rollout.promote_or_roll_back(NAME, is_promotion=True)
    assert state(other.live()).stable == NEW


def test_starting_again_changes_nothing(use: Any) -> None:
    api = use(FakeApiServer())
    start()
    before = contents(api)
    start()
    assert contents(api) == before


def test_the_bundle_that_answers_is_no_canary_of_itself(use: Any) -> None:
    api = use(FakeApiServer())
    before = copy.deepcopy(api.objects)
    rollout.start_canary(NAME, OLD)
    assert api.objects == before


def test_a_service_that_answers_nothing_takes_the_bundle_at_once(use: Any) -> None:
    api = use(FakeApiServer(answers=False))
    start()
    assert state(api.live()) == RolloutState(stable=NEW, candidate=None, percent=0, canary_mode=None)
    assert api.weights() == {f"{NAME}-predictor": 100}
    rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert state(api.live()).stable == OLD


def test_a_service_that_lacks_one_of_its_pods_keeps_its_bundle(use: Any) -> None:
    api = use(FakeApiServer(answers=None))
    before = copy.deepcopy(api.objects)
    with pytest.raises(EnvironmentFault, match="E542"):
        start()
    assert api.objects == before


def test_a_canary_under_way_is_not_kept_beside_a_bundle_that_replaces_the_stable_one(use: Any) -> None:
    api = use(FakeApiServer())
    start()
    api._answers = False
    rollout.start_canary(NAME, "s3://b/newest")
    assert state(api.live()) == RolloutState(stable=OLD, candidate="s3://b/newest", percent=10, canary_mode="two-services")


@pytest.mark.parametrize("form", get_args(CanaryMode)[:2])
def test_a_candidate_that_does_not_get_ready_is_removed_again(use: Any, form: str) -> None:
    api = use(FakeApiServer(refuses=NEW, canary_mode=form))
    with pytest.raises(EnvironmentFault, match="E542"):
        start()
    assert (SERVICE, CANARY) not in api.objects
    assert "canary" not in api.service()["spec"]
    assert api.weights() == {f"{NAME}-predictor": 100}
    assert state(api.live()).candidate is None


@pytest.mark.parametrize(
    ("cluster", "form"),
    [
        (CanaryFacts(mode="Standard", requested=None, has_route=True), "two-services"),
        (CanaryFacts(mode="RawDeployment", requested="standard", has_route=True), "standard"),
        (CanaryFacts(mode="Knative", requested=None, has_route=False), "knative"),
        (CanaryFacts(mode="Serverless", requested="knative", has_route=True), "knative"),
    ],
)
def test_the_form_is_what_the_cluster_can_do(cluster: CanaryFacts, form: str) -> None:
    assert detect(cluster) == form


@pytest.mark.parametrize(
    "cluster",
    [
        CanaryFacts(mode="Standard", requested="knative", has_route=True),
        CanaryFacts(mode="Knative", requested="two-services", has_route=True),
        CanaryFacts(mode="Standard", requested=None, has_route=False),
        CanaryFacts(mode="Standard", requested="two-services", has_route=False),
    ],
)
def test_a_form_that_would_send_everything_to_the_new_bundle_is_refused(cluster: CanaryFacts) -> None:
    with pytest.raises(EnvironmentFault, match="E540" if not cluster.has_route else "E545"):
        detect(cluster)


def test_a_canary_that_knative_alone_understands_is_not_made_elsewhere(use: Any) -> None:
    api = use(FakeApiServer(canary_mode="knative"))
    before = copy.deepcopy(api.objects)
    with pytest.raises(EnvironmentFault, match="E545"):
        start()
    assert api.objects == before


def test_an_unknown_form_and_an_impossible_share_are_refused(use: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"E545 .* Set it to one of"):
        detect(CanaryFacts(mode="Standard", requested="blue-green", has_route=True))
    for percent in (0, 100, -5):
        use(FakeApiServer())
        with pytest.raises(UsageError, match="between 1 and 99"):
            start(percent)


def test_there_must_be_a_canary_to_promote(use: Any) -> None:
    use(FakeApiServer())
    with pytest.raises(UsageError, match="no canary"):
        rollout.promote_or_roll_back(NAME, is_promotion=True)


def test_the_command_says_how_far_it_is(use: Any, capsys: pytest.CaptureFixture[str]) -> None:
    use(FakeApiServer())
    assert rollout.main(["start", "--service", NAME, "--bundle", NEW, "--percent", "5"]) == 0
    capsys.readouterr()
    assert rollout.main(["status", "--service", NAME]) == 0
    assert json.loads(capsys.readouterr().out) == {"stable": OLD, "candidate": NEW, "percent": 5, "canary_mode": "two-services"}
    assert rollout.main(["rollback", "--service", NAME]) == 0
    assert rollout.main(["promote", "--service", NAME]) == 2
