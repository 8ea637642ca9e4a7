"""Who reaches whom: the NetworkPolicies as they are rendered, evaluated for each pair that matters."""

import pytest

from components.kubernetes.training_job import TrainingJob, manifest, training_runtime
from tests.contract.kustomize import OVERLAYS, Object, rendered
from tests.contract.network_policies import Pod, allows

FOLDERS = (OVERLAYS.parent / "base", *(OVERLAYS / name for name in ("collector", "online-store", "features-on-spark")))
OBJECTS = [thing for folder in FOLDERS for thing in rendered(folder)]
POLICIES = [thing for thing in OBJECTS if thing["kind"] == "NetworkPolicy"]
SERVING, TRAINING = "lodestar", "lodestar-training"
COMPONENT = "app.kubernetes.io/component"


def template(kind: str, name: str) -> dict[str, str]:
    """The labels of the pods that an object makes."""
    (found,) = [thing for thing in OBJECTS if (thing["kind"], thing["metadata"]["name"]) == (kind, name)]
    return dict(found["spec"]["template"]["metadata"]["labels"])


def worker(kind: str) -> dict[str, str]:
    job = TrainingJob(
        name="t", kind=kind, namespace=TRAINING, image="i", features="s3://f", bundle="s3://b", checkpoints="s3://c", recipe="r"
    )
    if kind == "TrainJob":
        (node,) = training_runtime(TRAINING)["spec"]["template"]["spec"]["replicatedJobs"]
        return dict(node["template"]["spec"]["template"]["metadata"]["labels"])
    spec: Object = manifest(job)["spec"]["pytorchReplicaSpecs"]
    return dict(spec["Worker"]["template"]["metadata"]["labels"])


# KServe labels a predictor's pods with the service's name; a job's pods carry what its own template says.
PREDICTOR = Pod(namespace=SERVING, labels={"serving.kserve.io/inferenceservice": "recommend", "component": "predictor"})
CANARY = Pod(namespace=SERVING, labels={"serving.kserve.io/inferenceservice": "recommend-canary"})
COLLECTOR = Pod(namespace=SERVING, labels=template("StatefulSet", "collector"))
REDIS = Pod(namespace=SERVING, labels=template("StatefulSet", "online-store"))
STRANGER = Pod(namespace=SERVING, labels={"app": "stranger"})
TRAINER = Pod(namespace=TRAINING, labels=worker("PyTorchJob"))
NODE = Pod(namespace=TRAINING, labels=worker("TrainJob"))
LAUNCHER = Pod(namespace=TRAINING, labels={COMPONENT: "launcher"})
SPARK = Pod(namespace=TRAINING, labels={COMPONENT: "features-on-spark"})
STEP = Pod(namespace="kubeflow", labels={"pipelines.kubeflow.org/v2_component": "true"})
NOTEBOOK = Pod(namespace="kubeflow", labels={"app": "notebook"})
GATEWAY, PROMETHEUS = Pod(namespace="gateway"), Pod(namespace="monitoring")
DNS, S3, OTHER = Pod(namespace="kube-system", labels={"k8s-app": "kube-dns"}), Pod(namespace="storage"), Pod(namespace="default")
METRICS_SERVER = Pod(namespace="kube-system", labels={"k8s-app": "metrics-server"})

# Where a cloud hands a node's credentials to whoever asks: the three big ones, by IPv6, and two that chose other addresses.
METADATA = ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fe80::a9fe:a9fe", "100.100.100.200", "192.0.0.192", "168.63.129.16")
INTERNET, INTERNET6, PRIVATE, PRIVATE6 = "52.216.1.2", "2600:1f18::1", ("10.1.2.3", "172.20.0.1", "192.168.1.1"), "fc00::5"
API = ("10.96.0.1", "203.0.113.9")
OURS = {
    "predictor": PREDICTOR, "canary": CANARY, "collector": COLLECTOR, "online store": REDIS, "a stranger": STRANGER,
    "PyTorchJob": TRAINER, "TrainJob": NODE, "launcher": LAUNCHER, "spark": SPARK,
}  # fmt: skip
USES_STORE = {"predictor", "canary", "collector", "PyTorchJob", "TrainJob", "launcher"}
USES_API = {"launcher", "spark"}
RESOLVES = USES_STORE | USES_API


@pytest.mark.parametrize("name", OURS)
def test_nobody_reaches_what_hands_out_a_nodes_credentials(name: str) -> None:
    for address in METADATA:
        link_local = address.startswith(("169.254.", "fe80:", "fd00:ec2:", "168.63."))
        for port in (80, 443, 6443, 53, 7070):
            assert not allows(POLICIES, OURS[name], address, port) or (name in USES_API and not link_local), (address, port)


@pytest.mark.parametrize("name", OURS)
def test_out_goes_what_a_role_needs(name: str) -> None:
    pod = OURS[name]
    for protocol in ("UDP", "TCP"):
        assert allows(POLICIES, pod, DNS, 53, protocol) == (name in RESOLVES)
        assert not allows(POLICIES, pod, METRICS_SERVER, 53, protocol)
        assert not allows(POLICIES, pod, "8.8.8.8", 53, protocol)
        assert not allows(POLICIES, pod, OTHER, 53, protocol)
    for port in (7070, 9000):
        assert allows(POLICIES, pod, S3, port) == (name in USES_STORE)
        assert not allows(POLICIES, pod, INTERNET, port)
        assert not allows(POLICIES, pod, OTHER, port)
    assert not allows(POLICIES, pod, S3, 22)
    for address in (INTERNET, INTERNET6):
        assert allows(POLICIES, pod, address, 443) == (name in USES_STORE | USES_API)
        assert not any(allows(POLICIES, pod, address, port) for port in (22, 25, 80, 6379))
        assert not allows(POLICIES, pod, address, 443, "UDP")
    for address in (*PRIVATE, PRIVATE6):
        assert allows(POLICIES, pod, address, 443) == (name in USES_API)
        assert not allows(POLICIES, pod, address, 6379)
    for address in API:
        assert allows(POLICIES, pod, address, 6443) == (name in USES_API)


# Who may come in, and to which ports; workers of a job pick theirs.
CALLERS = {
    "predictor": {8080: [GATEWAY], 9090: [PROMETHEUS]},
    "canary": {8080: [GATEWAY], 9090: [PROMETHEUS]},
    "collector": {8090: [GATEWAY], 9090: [PROMETHEUS]},
    "online store": {6379: [PREDICTOR, CANARY, STEP]},
    **{job: {port: [TRAINER, NODE] for port in (22, 6379, 23456, 29400)} for job in ("PyTorchJob", "TrainJob")},
    "spark": {port: [SPARK] for port in (22, 6379, 7078)},
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("source", [GATEWAY, PROMETHEUS, OTHER, STEP, NOTEBOOK, *OURS.values(), INTERNET, *PRIVATE])
def test_in_comes_what_a_role_is_for(name: str, source: Pod | str) -> None:
    callers = CALLERS.get(name, {})
    for port in {22, 6379, *callers} if name in {"PyTorchJob", "TrainJob", "spark"} else (22, 53, 80, 443, 6379, 8080, 8090, 9090):
        wanted = any(source is allowed for allowed in callers.get(port, []))
        assert allows(POLICIES, source, OURS[name], port) == wanted, port


def test_pods_of_other_namespaces_are_not_bound() -> None:
    assert allows(POLICIES, OTHER, INTERNET, 80)
    assert allows(POLICIES, INTERNET, OTHER, 80)


def test_every_port_and_namespace_of_the_manifests_is_the_policies() -> None:
    (route,) = [thing for thing in OBJECTS if thing["kind"] == "HTTPRoute"]
    assert {parent["namespace"] for parent in route["spec"]["parentRefs"]} == {GATEWAY.namespace}


# Knative's proxy in a predictor's pod takes these: requests at the first two.
PROXY = (8012, 8013, 8022, 8112, 9090, 9091)
KNATIVE, KOURIER, ISTIO = (Pod(namespace=name) for name in ("knative-serving", "kourier-system", "istio-system"))


def test_knatives_requests_come_in_and_its_proxy_has_its_ports() -> None:
    objects = rendered(OVERLAYS / "knative-canary")
    policies = [thing for thing in objects if thing["kind"] == "NetworkPolicy"]
    (runtime,) = [thing["spec"] for thing in objects if thing["kind"] == "ServingRuntime"]
    (metrics,) = [int(part.partition("=")[2]) for part in runtime["containers"][0]["args"] if part.startswith("--metrics-port")]
    assert metrics not in {8080, *PROXY}
    assert runtime["annotations"] == {"prometheus.kserve.io/port": str(metrics), "prometheus.kserve.io/path": "/metrics"}
    callers = {8012: [KNATIVE, KOURIER, ISTIO], 8013: [KNATIVE, KOURIER, ISTIO], 9090: [KNATIVE], metrics: [PROMETHEUS]}
    for source in (KNATIVE, KOURIER, ISTIO, PROMETHEUS, GATEWAY, OTHER, STRANGER, COLLECTOR, NOTEBOOK, INTERNET, *PRIVATE):
        for port in {*PROXY, 8080, metrics}:
            wanted = any(source is allowed for allowed in callers.get(port, []))
            assert allows(policies, source, PREDICTOR, port) == wanted, (source, port)
