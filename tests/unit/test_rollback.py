"""A promotion or a rollback that fails, or is killed anywhere, ends with the old bundle, in each of three forms."""

import contextlib
import copy
from typing import Any

import pytest

from lodestar.errors import EnvironmentFault, UsageError
from serving.rollout import rollout
from serving.rollout.kserve_api import ROUTE, SERVICE
from serving.rollout.record import rolled_back_bundles
from serving.rollout.state import CANDIDATE, RolloutState, state
from tests.unit.rollout_fakes import CANARY, NAME, NEW, OLD, FakeApiServer, contents, route, start

MODES = [("two-services", "Standard"), ("standard", "Standard"), ("knative", "Knative")]


@pytest.mark.parametrize(("form", "mode"), MODES)
def test_a_promotion_that_fails_ends_with_the_old_bundle(use: Any, form: str, mode: str) -> None:
    api = use(FakeApiServer(canary_mode=form, mode=mode))
    start()
    api.refuses = NEW if form != "knative" else "canaryTrafficPercent"
    with pytest.raises(EnvironmentFault, match="E542"):
        rollout.promote_or_roll_back(NAME, is_promotion=True)
    assert state(api.live()) == RolloutState(stable=OLD, candidate=None, percent=0, canary_mode=None)
    assert api.weights() == {f"{NAME}-predictor": 100}
    assert (SERVICE, CANARY) not in api.objects
    assert rolled_back_bundles(api.live()) == []


class Killed(BaseException):
    """As SIGKILL: nothing of the process runs any more."""


def kill() -> None:
    raise Killed


@pytest.mark.parametrize(("form", "mode"), MODES)
def test_a_promotion_that_was_killed_anywhere_can_be_rolled_back(use: Any, form: str, mode: str) -> None:
    for number in range(1, 5):
        api = use(FakeApiServer(canary_mode=form, mode=mode))
        before = contents(api)
        start()
        api.done[len(api.made) + number] = kill
        with contextlib.suppress(Killed):
            rollout.promote_or_roll_back(NAME, is_promotion=True)
        api.done.clear()
        rollout.promote_or_roll_back(NAME, is_promotion=False)
        after = contents(api)
        for thing in (*before.values(), *after.values()):
            thing["metadata"].pop("annotations", None)
        assert after == before, number
        assert rolled_back_bundles(api.live()) == [NEW]
        with pytest.raises(UsageError, match="nothing to roll back"):
            rollout.promote_or_roll_back(NAME, is_promotion=False)


@pytest.mark.parametrize(("form", "mode"), MODES)
def test_a_rollback_that_was_killed_anywhere_can_be_gone_on_with(use: Any, form: str, mode: str) -> None:
    for number in range(1, 5):
        api = use(FakeApiServer(canary_mode=form, mode=mode))
        before = contents(api)
        start()
        rollout.promote_or_roll_back(NAME, is_promotion=True)
        api.done[len(api.made) + number] = kill
        with contextlib.suppress(Killed):
            rollout.promote_or_roll_back(NAME, is_promotion=False)
        api.done.clear()
        with contextlib.suppress(UsageError):  # it had ended
            rollout.promote_or_roll_back(NAME, is_promotion=False)
        assert contents(api)[SERVICE, NAME]["spec"] == before[SERVICE, NAME]["spec"], number


@pytest.mark.parametrize(("form", "mode"), MODES)
def test_going_back_twice_goes_back_once(use: Any, form: str, mode: str) -> None:
    """Not from the canary to the stable bundle, and then to the one that it had replaced long ago."""
    api = use(FakeApiServer(canary_mode=form, mode=mode))
    start()
    rollout.promote_or_roll_back(NAME, is_promotion=True)
    rollout.start_canary(NAME, "s3://b/newest")
    rollout.promote_or_roll_back(NAME, is_promotion=False)
    with pytest.raises(UsageError, match=r"nothing to roll back.*`start`"):
        rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert state(api.live()).stable == NEW


def test_a_gateway_that_is_dead_holds_no_rollback_up(use: Any) -> None:
    """The traffic is moved and the decision recorded, whatever it says of the route; the canary stays, as it may still send there."""
    api = use(FakeApiServer())
    start()
    api.refuses = "backendRefs"
    with pytest.raises(EnvironmentFault, match="E542"):
        rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert api.weights() == {f"{NAME}-predictor": 100}
    assert rolled_back_bundles(api.live()) == [NEW]
    assert (SERVICE, CANARY) in api.objects
    api.refuses = ""
    rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert (SERVICE, CANARY) not in api.objects


def test_a_canary_service_that_an_earlier_rollout_left_is_removed(use: Any) -> None:
    api = use(FakeApiServer())
    start()
    api.change((ROUTE, f"{NAME}-split"), {"metadata": {"annotations": {CANDIDATE: None}}, "spec": route()["spec"]})
    api.refuses = "s3://b/newest"
    with pytest.raises(EnvironmentFault, match="E542"):
        rollout.start_canary(NAME, "s3://b/newest")
    assert (SERVICE, CANARY) not in api.objects


@pytest.mark.parametrize(("form", "mode"), MODES)
def test_going_back_without_a_canary_is_refused_and_changes_nothing(use: Any, form: str, mode: str) -> None:
    api = use(FakeApiServer(canary_mode=form, mode=mode))
    before = copy.deepcopy(api.objects)
    with pytest.raises(UsageError, match="nothing to roll back"):
        rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert api.objects == before
