"""The kubernetes client against a server that notes each request: roles allow these and no others, and refusals are told apart."""

import re
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
import urllib3
from kfp.dsl import Model
from kubernetes import client, config

from components.kubernetes import training_api
from components.publish import publish
from components.release.canary import check_rights, deploy
from components.version import version
from lodestar.errors import EnvironmentFault
from serving.rollout import kserve_api, rollout
from serving.rollout.api_client import _LimitedPool
from serving.rollout.canary import replace_stable
from serving.rollout.kserve_api import record_name
from serving.rollout.record import StableBundle
from serving.rollout.reversal import roll_back
from serving.rollout.state import RolloutState, state
from tests.contract.api_server import NEW, OLD, SERVING, TRAINING, Server
from tests.contract.kustomize import OVERLAYS, objects
from tests.factories import small_bundle


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(config, "load_config", lambda: None)
    monkeypatch.setattr(urllib3.PoolManager, "request", made.request)
    monkeypatch.setattr(kserve_api, "READY_S", 0.0)
    monkeypatch.setattr(kserve_api, "UNDO_S", 0.0)
    monkeypatch.setattr(kserve_api, "UNDO_FAILED_S", 0.0)
    monkeypatch.setattr(kserve_api, "POLL_S", 0.0)
    return made


JOB = {"kind": "PyTorchJob", "apiVersion": "kubeflow.org/v1", "metadata": {"name": "train-1", "namespace": TRAINING}}


def test_roles_allow_what_the_code_asks_for_and_nothing_more(server: Server) -> None:
    for kind in training_api.KINDS:
        jobs = training_api.connect(TRAINING, kind)
        assert jobs.create(JOB)
        assert not jobs.create(JOB)
        assert jobs.read("train-1")["metadata"]["name"] == "train-1"
        found = jobs.pods("train-1")
        assert [pod.name for pod in found] == ["master-new", "master-old", "worker-0"]
        assert [(end.reason, end.exit_code, end.is_before) for pod in found for end in pod.terminations] == [("OOMKilled", 137, True)] * 3
        assert jobs.log(found[0].name).endswith("a line")
        assert jobs.warnings("train-1") == ["FailedScheduling train-1-worker-0: no room"]
        jobs.delete("train-1")
    server.serve(OLD)
    rollout.start_canary("lodestar/recommend", NEW)
    for is_promotion in (True, False):
        rollout.promote_or_roll_back("lodestar/recommend", is_promotion=is_promotion)
    roles = [thing for thing in objects(OVERLAYS.parent / "10-access.yaml") if thing["kind"] == "Role"]
    allowed = {
        (role["metadata"]["namespace"], group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert server.rights == allowed
    assert {(SERVING, *right) for right in kserve_api.RIGHTS} == {right for right in allowed if right[0] == SERVING}


@pytest.mark.parametrize("right", kserve_api.RIGHTS, ids=" ".join)
def test_a_run_that_could_not_be_rolled_out_ends_with_its_first_step(
    server: Server, right: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Which asks what deploy asks, before anything is computed."""
    server.serve(OLD)
    server.denied = {(SERVING, *right)}
    group, resource, verb = right
    record = "" if verb == "create" else f" {record_name('recommend')}"
    named = rf"{resource}\.{group}" if group else f"{resource}{record}"
    said = rf"E537.*pipeline-runner may not {verb} {named} in namespace {SERVING}\."
    with pytest.raises(EnvironmentFault, match=said):
        deploy("s3://bundles/new", "s3://bundles", f"{SERVING}/recommend")
    with pytest.raises(SystemExit) as ended:
        version.python_func(data="simulator", recipe="tiny", overrides={}, destination="s3://bundles", service=f"{SERVING}/recommend")
    assert ended.value.code == EnvironmentFault.exit_code
    assert re.search(said, capsys.readouterr().err)
    assert server.writes == 0


def _unsplit(server: Server) -> None:
    del server.objects[ROUTE]


def _elsewhere(server: Server) -> None:
    server.objects[ROUTE]["spec"]["rules"] = [{"backendRefs": [{"name": "other", "port": 80}]}]


def _gone(server: Server) -> None:
    del server.objects[SERVICE]


ROUTE = f"/apis/gateway.networking.k8s.io/v1/namespaces/{SERVING}/httproutes/recommend-split"
SERVICE = f"/apis/serving.kserve.io/v1beta1/namespaces/{SERVING}/inferenceservices/recommend"


@pytest.mark.parametrize(("damage", "said"), [(_unsplit, "E540"), (_elsewhere, "E570"), (_gone, "E596.*recommend.* 404 ")])
def test_a_run_whose_service_could_not_take_a_canary_ends_with_its_first_step(
    server: Server, damage: Callable[[Server], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.serve(OLD)
    check_rights(f"{SERVING}/recommend")
    damage(server)
    with pytest.raises(SystemExit) as ended:
        version.python_func(data="simulator", recipe="tiny", overrides={}, destination="s3://bundles", service=f"{SERVING}/recommend")
    assert ended.value.code == EnvironmentFault.exit_code
    assert re.search(said, capsys.readouterr().err)
    assert {verb for *_, verb in server.rights} == {"get"}
    server.is_reachable = False  # who does not answer refuses nothing
    check_rights(f"{SERVING}/recommend")


def test_nothing_is_published_where_a_right_is_revoked_meanwhile(server: Server, bucket: str, tmp_path: Path) -> None:
    server.serve(OLD)
    server.denied = {(SERVING, "serving.kserve.io", "inferenceservices", "create")}
    made = Model(uri=str(small_bundle(tmp_path / "bundle")))
    with pytest.raises(SystemExit) as ended:
        publish.python_func(made, made, destination=f"{bucket}/denied", service=f"{SERVING}/recommend", started_at="")
    assert ended.value.code == EnvironmentFault.exit_code
    assert boto3.client("s3").list_objects_v2(Bucket=bucket.removeprefix("s3://"), Prefix="denied")["KeyCount"] == 0


def test_a_rollout_goes_from_the_first_bundle_to_the_second(server: Server) -> None:
    server.serve(OLD)
    rollout.start_canary("recommend", NEW, 20)
    live = kserve_api.connect("recommend").live()
    assert state(live) == RolloutState(stable=OLD, candidate=NEW, percent=20, canary_mode="two-services")
    rollout.promote_or_roll_back("recommend", is_promotion=True)
    assert state(kserve_api.connect("recommend").live()).stable == NEW
    assert not [path for path in server.objects if path.endswith("recommend-canary")]


def test_pods_that_still_fetch_another_bundle_are_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.serve(OLD)
    monkeypatch.setattr(server, "_deployment", lambda _service: Server._deployment(server, {"spec": {"predictor": {"model": {}}}}))
    with pytest.raises(EnvironmentFault, match="E542"):
        kserve_api.connect("recommend").apply(replace_stable(NEW))


def test_a_service_that_does_not_get_ready_says_why(server: Server) -> None:
    server.serve(OLD)
    server.is_ready = False
    with pytest.raises(EnvironmentFault, match=r"E542.*Ready: no room"):
        rollout.start_canary("recommend", NEW)


@pytest.mark.parametrize("is_reachable", [True, False])
def test_a_server_that_refuses_or_is_away_is_an_environment_fault(server: Server, is_reachable: bool) -> None:
    server.is_reachable = is_reachable
    server.refused = {"pytorchjobs": 403, "inferenceservices": 403}
    said = "E596.*403 said so no .* for you" if is_reachable else "E597.*connection reset"
    with pytest.raises(EnvironmentFault, match=said):
        training_api.connect(TRAINING, "PyTorchJob").create(JOB)
    with pytest.raises(EnvironmentFault, match=said):
        rollout.start_canary("recommend", NEW)


def test_an_object_that_others_keep_changing_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.serve(OLD)
    monkeypatch.setattr(server, "_is_stale", lambda _path, body: "resourceVersion" in body.get("metadata", {}))
    with pytest.raises(EnvironmentFault, match=r"E572 HTTPRoute recommend-split keeps being changed by others"):
        rollout.start_canary("recommend", NEW)
    assert not [path for path in server.objects if path.endswith("recommend-canary")]


@pytest.mark.parametrize("is_terminated", [True, False])
def test_undoing_keeps_the_canary_where_the_route_still_sends_to_it(
    server: Server, is_terminated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    server.serve(OLD)
    rollout.start_canary("recommend", NEW)
    server.refused = {"httproutes/patch": 403}
    reversal = roll_back("two-services", NEW, StableBundle(bundle=OLD, predictor=None))
    kserve_api.connect("recommend").undo(reversal, is_terminated=is_terminated)
    assert f"{SERVICE}-canary" in server.objects
    assert "not undone" in capsys.readouterr().err


def test_a_record_that_is_refused_holds_no_rollback_up(server: Server) -> None:
    server.serve(OLD)
    rollout.start_canary("recommend", NEW)
    server.refused = {"configmaps/create": 403}
    with pytest.raises(EnvironmentFault, match=r"E596.*ConfigMap recommend-rollout"):
        rollout.promote_or_roll_back("recommend", is_promotion=False)
    assert [ref.get("weight") for ref in server.objects[ROUTE]["spec"]["rules"][0]["backendRefs"]] == [100]


def test_a_namespace_that_is_gone_is_no_conflict(server: Server) -> None:
    server.serve(OLD)
    server.refused = {"inferenceservices/create": 404}
    with pytest.raises(EnvironmentFault, match=r"E596.*InferenceService recommend-canary.* 404 "):
        rollout.start_canary("recommend", NEW)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_busy_for_a_second_undoes_no_rollout(server: Server, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Whichever request of the steps it does not answer, and whether it has done by then what was asked (not so with 429)."""
    monkeypatch.setattr(kserve_api, "READY_S", 60.0)
    monkeypatch.setattr(_LimitedPool, "request", lambda pool, *request, **options: pool._pool.request(*request, **options))
    server.serve(OLD)
    rollout.start_canary("recommend", NEW)
    num_start, num_reads = server.num_requests, 4
    rollout.promote_or_roll_back("recommend", is_promotion=True)
    num_promote = server.num_requests - num_start
    for number in [*range(num_reads, num_start), *range(num_start + num_reads, num_start + num_promote - num_reads)]:
        server.objects.clear()
        server.serve(OLD)
        server.refused_once, server.num_requests = {number: status}, 0
        rollout.start_canary("recommend", NEW)
        live = kserve_api.Kubernetes(namespace=SERVING, name="recommend", api=client.ApiClient()).live()
        assert state(live).candidate == NEW, number
        server.num_requests -= num_reads
        if number >= num_start:
            server.num_requests = num_start
        rollout.promote_or_roll_back("recommend", is_promotion=True)
        assert state(kserve_api.connect("recommend").live()) == RolloutState(stable=NEW, candidate=None, percent=0, canary_mode=None)
        assert not [path for path in server.objects if path.endswith("recommend-canary")]
        assert not server.refused_once


def test_a_service_without_a_pod_is_told_from_one_that_lacks_one(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kserve_api, "SILENT_S", 0.02)
    monkeypatch.setattr(kserve_api, "READY_S", 0.1)
    server.serve(OLD)
    server.is_ready = False
    api = kserve_api.connect("recommend")
    with pytest.raises(EnvironmentFault, match=r"E542 InferenceService recommend was not ready in time: Ready: no room"):
        api.answers()
    server.num_available = 0
    assert not api.answers()
    server.is_ready = True
    assert api.answers()


def test_what_is_gone_already_is_deleted(server: Server) -> None:
    training_api.connect(TRAINING, "PyTorchJob").delete("train-1")


def test_without_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise config.ConfigException("no configuration")

    monkeypatch.setattr(config, "load_config", refuse)
    with pytest.raises(EnvironmentFault, match=r"E534.*no configuration"):
        training_api.connect("here", "TrainJob")
    with pytest.raises(EnvironmentFault, match=r"E534.*no configuration"):
        kserve_api.connect("here")
