"""A run's deploy knows what was decided meanwhile: by a newer run, by whoever gave a canary its share, by whoever rolled it back."""

import copy
import json
from typing import Any

import pytest

from components.release import canary as step
from lodestar.io import storage
from serving.rollout import rollout
from serving.rollout.kserve_api import RECORD, record_name
from serving.rollout.record import MAX_RECORDED, REPLACED, ROLLED_BACK, rolled_back_bundles
from serving.rollout.state import state
from tests.unit.rollout_fakes import NAME, NEW, OLD, FakeApiServer, contents, start


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApiServer:
    made = FakeApiServer()
    monkeypatch.setattr(rollout, "connect", lambda _service: made)
    monkeypatch.setattr(step, "check_rights", lambda _service: None)
    monkeypatch.setattr(storage, "resolve", lambda _address: NEW)
    return made


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().err.splitlines()[-1])


def test_a_late_deploy_leaves_the_newer_bundle_alone(api: FakeApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    start()
    before = contents(api)
    step.deploy(f"s3://b/versions/{64 * 'a'}", "s3://b", NAME)
    assert contents(api) == before
    assert said(capsys)["current"] == NEW


@pytest.mark.parametrize(("destination", "service"), [("", NAME), ("s3://b", "")])
def test_without_a_service_or_a_destination_nothing_is_rolled_out(api: FakeApiServer, destination: str, service: str) -> None:
    before = copy.deepcopy(api.objects)
    step.deploy("", destination, service)
    assert api.objects == before


def test_a_candidate_keeps_the_share_that_it_was_given(api: FakeApiServer, capsys: pytest.CaptureFixture[str]) -> None:
    step.deploy(NEW, "s3://b", NAME)
    assert state(api.live()).percent == 10
    start(50)
    step.deploy(NEW, "s3://b", NAME)
    assert state(api.live()).percent == 50
    assert "its share is kept" in said(capsys)["state"]


@pytest.mark.parametrize(("mode", "form", "has_route"), [("Standard", "", True), ("Standard", "standard", False), ("Knative", "", False)])
def test_what_was_rolled_back_is_tried_again_by_hand_alone(
    api: FakeApiServer, capsys: pytest.CaptureFixture[str], mode: str, form: str, has_route: bool
) -> None:
    """In each overlay of manifests/, of which two have no route."""
    api.objects = FakeApiServer(mode=mode, canary_mode=form, has_route=has_route).objects
    step.deploy(NEW, "s3://b", NAME)
    assert rollout.main(["rollback", "--service", NAME]) == 0
    for _ in range(2):
        step.deploy(NEW, "s3://b", NAME)
        assert (state(api.live()).stable, state(api.live()).candidate) == (OLD, None)
        assert "rolled back" in said(capsys)["state"]
    assert rollout.main(["start", "--service", NAME, "--bundle", NEW, "--percent", "20"]) == 0
    assert (state(api.live()).candidate, state(api.live()).percent, rolled_back_bundles(api.live())) == (NEW, 20, [])


@pytest.mark.parametrize("noted", ["no JSON", '"text"', "[1]"])
def test_a_note_that_someone_else_wrote_holds_nothing_up(api: FakeApiServer, noted: str) -> None:
    name = record_name(NAME)
    api.change((RECORD, name), {"metadata": {"name": name}, "data": {ROLLED_BACK: noted, REPLACED: noted}})
    step.deploy(NEW, "s3://b", NAME)
    assert state(api.live()).candidate == NEW


def test_the_last_few_are_noted(api: FakeApiServer) -> None:
    for number in range(MAX_RECORDED + 1):
        rollout.start_canary(NAME, f"s3://b/{number}")
        rollout.promote_or_roll_back(NAME, is_promotion=False)
    assert rolled_back_bundles(api.live()) == [f"s3://b/{number}" for number in range(1, MAX_RECORDED + 1)]


@pytest.mark.parametrize("address", ["s3://b/bundles", f"s3://b/versions/{63 * 'e'}", f"s3://versions/{64 * 'e'}", "/tmp/bundle"])
def test_an_address_that_no_pod_could_fetch_is_refused_at_once(
    api: FakeApiServer, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = copy.deepcopy(api.objects)
    assert rollout.main(["start", "--service", NAME, "--bundle", address]) == 2
    assert "not the address of a published bundle" in capsys.readouterr().err
    assert api.objects == before
