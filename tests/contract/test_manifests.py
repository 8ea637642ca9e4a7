"""Every object that we ask a cluster to take, held to the schemas that the cluster holds it to, and to what our own code makes."""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from components.kubernetes import training_job_command
from lodestar.process.environment_variables import COLLECT_KEY
from serving.__main__ import parser as predictor_options
from serving.collector.__main__ import parser as collection_parser
from serving.rollout.canary import CANARY_MODE, canary, replace_stable
from serving.rollout.kserve_api import ROUTE, SERVICE, ServiceState
from serving.rollout.state import CanaryMode
from tests.contract.kustomize import OVERLAYS, Object, merged, objects, rendered

MANIFESTS = OVERLAYS.parent
KUBERNETES = "1.36"
FORMS: dict[CanaryMode, str] = {"two-services": "two-services", "standard": "standard-canary", "knative": "knative-canary"}
SCHEMAS = {record["kind"]: record for record in (json.loads(file.read_text()) for file in Path(__file__).with_name("crds").glob("*.json"))}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
STATEFUL, SPARK, RUNTIME = "StatefulSet", "SparkApplication", "TrainingRuntime"
FIRST, SECOND = "s3://lodestar/bundles/first", "s3://lodestar/bundles/second"


def applied() -> list[Object]:
    """What `kubectl apply -f manifests/` sends: every object of every file at the top."""
    return [thing for file in sorted(MANIFESTS.glob("*.yaml")) for thing in objects(file)]


EVERYTHING = [*applied(), *(thing for folder in sorted(OVERLAYS.iterdir()) for thing in rendered(folder))]


def check(thing: Object) -> None:
    """Raise where the API server would refuse the object, or drop a field without a word."""
    record = SCHEMAS.get(thing["kind"])
    if record is None:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        return
    assert thing["apiVersion"] == record["apiVersion"]
    jsonschema.validate(thing, record["schema"], cls=jsonschema.Draft202012Validator)


def only(things: list[Object], kind: str, name: str = "recommend") -> Object:
    (found,) = [thing for thing in things if thing["kind"] == kind and thing["metadata"]["name"] == name]
    return found


def pods() -> Iterator[tuple[str, Object, Object]]:
    """Kind, pod spec and container of everything that runs; a predictor's container is its runtime's."""
    runtime = only(applied(), "ServingRuntime", "lodestar")["spec"]["containers"][0]
    for thing in EVERYTHING:
        if thing["kind"] == SERVICE:
            yield SERVICE, thing["spec"]["predictor"], runtime
        elif thing["kind"] == "PyTorchJob":
            for replica in thing["spec"]["pytorchReplicaSpecs"].values():
                spec = replica["template"]["spec"]
                yield "PyTorchJob", spec, spec["containers"][0]
        elif thing["kind"] == RUNTIME:
            (node,) = thing["spec"]["template"]["spec"]["replicatedJobs"]
            spec = node["template"]["spec"]["template"]["spec"]
            # What a TrainJob says of resources is put into the container named `node`.
            limits = only(EVERYTHING, "TrainJob", "train")["spec"]["trainer"]["resourcesPerNode"]
            assert spec["containers"][0]["name"] == "node"
            yield RUNTIME, spec, spec["containers"][0] | {"resources": limits}
        elif thing["kind"] == STATEFUL:
            spec = thing["spec"]["template"]["spec"]
            yield STATEFUL, spec, spec["containers"][0]
        elif thing["kind"] == SPARK:
            for role in ("driver", "executor"):
                spec = thing["spec"][role]
                yield SPARK, spec | {"securityContext": spec["podSecurityContext"]}, spec


@pytest.mark.parametrize("thing", EVERYTHING, ids=lambda thing: f"{thing['kind']}-{thing['metadata']['name']}")
def test_the_api_server_would_take_it(thing: Object) -> None:
    check(thing)


def test_the_check_can_fail() -> None:
    service = copy.deepcopy(only(applied(), SERVICE))
    service["spec"]["predictor"]["minReplica"] = service["spec"]["predictor"].pop("minReplicas")
    with pytest.raises(jsonschema.ValidationError, match="minReplica"):
        check(service)
    account = only(applied(), "ServiceAccount", "predictor") | {"automountServiceAccountTokens": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(account)
    job = copy.deepcopy(rendered(OVERLAYS / "pytorchjob")[0])
    job["spec"]["runPolicy"]["backoffLimit"] = "three"
    with pytest.raises(jsonschema.ValidationError, match="three"):
        check(job)


def test_the_top_holds_what_the_base_holds() -> None:
    assert applied() == rendered(MANIFESTS / "base")
    kinds = {thing["kind"] for thing in applied()}
    assert {"Namespace", "ServiceAccount", "ServingRuntime", SERVICE, "NetworkPolicy", "PodDisruptionBudget", ROUTE} <= kinds
    assert "PyTorchJob" not in kinds


@pytest.mark.parametrize("overlay", sorted(path.name for path in OVERLAYS.iterdir()))
def test_kubectl_renders_the_same(overlay: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here")
    done = subprocess.run(["kubectl", "kustomize", str(OVERLAYS / overlay)], capture_output=True, text=True, check=True)
    theirs, ours = list(yaml.safe_load_all(done.stdout)), rendered(OVERLAYS / overlay)
    assert sorted(map(json.dumps, map(_sorted, theirs))) == sorted(map(json.dumps, map(_sorted, ours)))


def _sorted(thing: Object) -> Any:
    return json.loads(json.dumps(thing, sort_keys=True))


@pytest.mark.parametrize("form", FORMS)
def test_an_overlay_says_what_the_rollout_makes(form: CanaryMode) -> None:
    found = rendered(OVERLAYS / FORMS[form])
    stable = copy.deepcopy(only(applied(), SERVICE))
    if form == "knative":
        stable["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Knative"
        stable["spec"]["predictor"].pop("deploymentStrategy")
    if form == "standard":
        stable["metadata"]["annotations"][CANARY_MODE] = form
    made = {(SERVICE, "recommend"): stable, (ROUTE, "recommend-split"): only(applied(), ROUTE, "recommend-split")}
    for step in (*replace_stable(FIRST), *canary(form, SECOND, 10)):
        change = step(ServiceState(service=made[SERVICE, "recommend"], route=made[ROUTE, "recommend-split"]))
        assert change is not None
        key = change["kind"], change["metadata"]["name"]
        made[key] = merged(made.get(key, {}), change)
    services = {thing["metadata"]["name"]: thing for thing in found if thing["kind"] == SERVICE}
    assert services == {name: thing for (kind, name), thing in made.items() if kind == SERVICE}
    routes = [thing for thing in found if thing["kind"] == ROUTE]
    assert routes == ([made[ROUTE, "recommend-split"]] if form == "two-services" else [])


def test_a_canary_keeps_kserves_rules() -> None:
    for form, overlay in FORMS.items():
        service = only(rendered(OVERLAYS / overlay), SERVICE)
        is_knative = service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
        assert ("canaryTrafficPercent" in service["spec"]["predictor"]) == (form == "knative") == is_knative
        entries = service["spec"].get("canary", [])
        names = [entry["predictor"]["name"] for entry in entries]
        assert len(set(names)) == len(names)
        assert service["spec"]["predictor"].get("name") not in names
        assert sum(entry["trafficPercent"] for entry in entries) <= 100
        for entry in entries:
            assert 1 <= entry["predictor"]["minReplicas"] <= service["spec"]["predictor"]["minReplicas"]
            assert not {"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling", "workerSpec"} & entry["predictor"].keys()
        assert "transformer" not in service["spec"]


@pytest.mark.parametrize(("overlay", "kind"), [("pytorchjob", "PyTorchJob"), ("trainjob", "TrainJob")])
def test_the_training_job_is_what_the_launcher_makes(overlay: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = (OVERLAYS / overlay / "job.yaml").read_text()
    job = only(rendered(OVERLAYS / overlay), kind, "train")
    container = (
        job["spec"]["trainer"] if kind == "TrainJob" else job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]
    )
    options = [f"--{key}={job['metadata'][key]}" for key in ("name", "namespace")]
    options += [f"--kind={kind}", f"--image={container['image']}", *(given for given in container["args"] if "error-file" not in given)]
    options = [option.replace("--output=", "--destination=") for option in options]
    assert training_job_command.main(options) == 0
    assert content.partition("\n")[2] == capsys.readouterr().out
    assert training_job_command.main([f"{option}.1" if option.startswith("--name=") else option for option in options]) == 2


def test_a_training_job_keeps_the_webhooks_rules() -> None:
    (job,) = rendered(OVERLAYS / "pytorchjob")
    assert job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"] == 1
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        assert [container["name"] for container in replica["template"]["spec"]["containers"]] == ["pytorch"]
        assert replica["template"]["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        assert replica["restartPolicy"] == "OnFailure"


def test_pods_run_with_no_right_that_they_do_not_need() -> None:
    found = list(pods())
    assert {kind for kind, _, _ in found} == {SERVICE, "PyTorchJob", RUNTIME, STATEFUL, SPARK}
    for kind, spec, container in found:
        assert kind == SPARK or spec["automountServiceAccountToken"] is False, kind
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"], context["capabilities"]) == (
            False,
            True,
            {"drop": ["ALL"]},
        )
        assert "memory" in (container if kind == SPARK else container["resources"]["limits"])  # the operator makes a limit of it


def test_no_secret_is_written_down() -> None:
    assert not [thing for thing in EVERYTHING if thing["kind"] == "Secret"]
    for file in (*MANIFESTS.rglob("*.yaml"), *MANIFESTS.rglob("*.env")):
        assert not re.search(
            r"(?i)(password|secret_access_key|access_key_id|collect_key|token)[:=][ \t]*[^\s#]",
            file.read_text().replace("automountServiceAccountToken: ", ""),
        ), file


def test_accounts_that_are_named_exist_and_only_the_launcher_talks_to_the_api() -> None:
    accounts = {
        (thing["metadata"]["namespace"], thing["metadata"]["name"]): thing for thing in EVERYTHING if thing["kind"] == "ServiceAccount"
    }
    used = {("lodestar", spec["serviceAccountName"]) for kind, spec, _ in pods() if kind in {SERVICE, STATEFUL}}
    used |= {("lodestar-training", spec["serviceAccountName"]) for kind, spec, _ in pods() if kind in {"PyTorchJob", RUNTIME}}
    assert used <= accounts.keys()
    assert {name for (_, name), account in accounts.items() if account["automountServiceAccountToken"]} == {"launcher", "spark-driver"}


def test_features_on_spark_run_what_the_image_holds_on_the_volume_that_is_claimed() -> None:
    found = rendered(OVERLAYS / "features-on-spark")
    application, claim = only(found, SPARK, "features")["spec"], only(found, "PersistentVolumeClaim", "shop")
    assert f"cli/{Path(application['mainApplicationFile']).name} /app/" in (MANIFESTS.parent / "Containerfile").read_text()
    (mounted,) = [volume for volume in application["volumes"] if "persistentVolumeClaim" in volume]
    assert mounted["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    policy = only(found, "NetworkPolicy", "spark")["spec"]["podSelector"]["matchLabels"]
    for role in ("driver", "executor"):
        assert policy.items() <= application[role]["labels"].items()
        (path,) = [mount["mountPath"] for mount in application[role]["volumeMounts"] if mount["name"] == mounted["name"]]
        assert all(argument.partition("=")[2].startswith(f"{path}/") for argument in application["arguments"][:2])
    assert application["driver"]["serviceAccount"] == only(found, "ServiceAccount", "spark-driver")["metadata"]["name"]


@pytest.mark.parametrize("namespace", ["lodestar", "lodestar-training"])
def test_nothing_goes_in_or_out_unless_it_is_named(namespace: str) -> None:
    policies = [thing for thing in applied() if thing["kind"] == "NetworkPolicy" and thing["metadata"]["namespace"] == namespace]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in [policy["spec"] for policy in policies]
    labels = {name for policy in policies for name in json.dumps(policy["spec"]["podSelector"]).split('"')}
    assert {"serving.kserve.io/inferenceservice", "training.kubeflow.org/job-name", "app.kubernetes.io/component"} & labels


def test_a_budget_covers_the_service() -> None:
    budget = only(applied(), "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"] == {"serving.kserve.io/inferenceservice": only(applied(), SERVICE)["metadata"]["name"]}
    assert only(applied(), SERVICE)["spec"]["predictor"]["minReplicas"] > budget["spec"]["maxUnavailable"]


def test_a_predictor_is_scraped_and_probed_at_the_port_that_it_listens_on_for_that() -> None:
    spec = only(applied(), "ServingRuntime", "lodestar")["spec"]
    (container,) = spec["containers"]
    options = predictor_options().parse_args(container["args"])
    policy = only(applied(), "NetworkPolicy", "predictor")["spec"]
    assert [[rule["port"] for rule in entry["ports"]] for entry in policy["ingress"]] == [[options.port], [options.metrics_port]]
    assert spec["annotations"]["prometheus.kserve.io/port"] == str(options.metrics_port)
    assert {container[probe]["httpGet"]["port"] for probe in PROBES} == {options.metrics_port}
    (in_knative,) = only(rendered(OVERLAYS / "knative-canary"), "ServingRuntime", "lodestar")["spec"]["containers"]
    assert {in_knative[probe]["httpGet"]["port"] for probe in PROBES} == {options.port}
    assert [port["containerPort"] for port in container["ports"]] == [options.port]


def test_a_collector_is_reached_and_started_as_its_process_wants_it() -> None:
    found = rendered(OVERLAYS / "collector")
    (collector,), service = [thing for thing in found if thing["kind"] == STATEFUL], only(found, "Service", "collector")
    template, container = collector["spec"]["template"], collector["spec"]["template"]["spec"]["containers"][0]
    options = collection_parser().parse_args([*container["args"]])
    port, metrics = container["ports"]
    assert (options.host, options.port) == ("0.0.0.0", port["containerPort"])
    assert options.metrics_port == metrics["containerPort"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    policy = only(found, "NetworkPolicy", "collector")["spec"]
    assert [rule["port"] for entry in policy["ingress"] for rule in entry["ports"]] == [port["containerPort"], metrics["containerPort"]]
    for selector in (service["spec"]["selector"], policy["podSelector"]["matchLabels"], collector["spec"]["selector"]["matchLabels"]):
        assert selector.items() <= template["metadata"]["labels"].items()
    (claim,) = collector["spec"]["volumeClaimTemplates"]
    assert {"name": claim["metadata"]["name"], "mountPath": str(options.spool)} in container["volumeMounts"]
    assert {entry["name"] for entry in container["env"]} == {COLLECT_KEY}
    assert container["command"] == ["python", "-m", collection_parser.__module__.removesuffix(".__main__")]
    budget = only(found, "PodDisruptionBudget", "collector")["spec"]
    assert budget["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert collector["spec"]["replicas"] > budget["maxUnavailable"]


def test_namespaces_hold_pods_to_pod_security() -> None:
    levels = {
        thing["metadata"]["name"]: thing["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for thing in applied()
        if thing["kind"] == "Namespace"
    }
    assert levels == {"lodestar": "restricted", "lodestar-training": "baseline"}


def test_a_mount_leaves_a_collector_s_spool_as_it_is() -> None:
    collector = only(rendered(OVERLAYS / "collector"), "StatefulSet", "collector")
    assert collector["spec"]["template"]["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
