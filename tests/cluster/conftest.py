"""The whole way on real controllers, each stage once: images, manifests, features, a trained bundle, a service that answers.

KUBECONFIG names the cluster and IMAGE_REGISTRY the registry that it pulls from. The cluster runs KServe, the training-operator, a Gateway
`gateway/main` and an S3 server; where they are reached is said by the variables below, whose defaults fit a single-node test cluster.
"""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.main import main
from components.images.image import image_reference
from components.kubernetes.training_job import TrainingJob
from lodestar.bundle import bundle
from lodestar.io import storage
from tests.cluster import objects
from tests.cluster.backend import pods
from tests.cluster.backend.driver import Backend, RunResult
from tests.cluster.shop_tables import Shop
from tests.cluster.steps import BUCKET, OVERRIDES, Stage, eventually, kubectl

ROOT = Path(__file__).parents[2]
NODE = os.environ.get("NODE_ADDRESS", os.environ.get("IMAGE_REGISTRY", "127.0.0.1").partition(":")[0])
GATEWAY = os.environ.get("LODESTAR_GATEWAY", f"http://{NODE}:30080")
S3_HERE = os.environ.get("LODESTAR_S3", f"http://{NODE}:30070")
HOST_NAME = "recommend.example.com"
ROLES = ("serve", "features", "launcher", "train")
READY_S = 300
MADE_BY_TESTS = "lodestar/made-by=cluster-tests"


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> Iterator[None]:
    if not os.environ.get("KUBECONFIG") or not os.environ.get("IMAGE_REGISTRY"):
        pytest.fail("set KUBECONFIG and IMAGE_REGISTRY: these tests are for a cluster")
    patch = pytest.MonkeyPatch()
    for name, value in (objects.KEYS | {"AWS_ENDPOINT_URL": S3_HERE}).items():
        patch.setenv(name, value)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def images(_cluster: None) -> dict[str, str]:
    """Our images by role, built from this tree and pushed."""
    for role in ROLES:
        _shell("make", "image", f"ROLE={role}", f"REGISTRY={_registry()}", f"BASE_IMAGE={_base()}", "TLS_VERIFY=false")
    return {role: image_reference(role, _registry()) for role in ROLES}


@pytest.fixture(scope="session")
def applied(images: dict[str, str]) -> None:
    """The manifests as they are, then what their owner adds: credentials, the online store, the image's name."""
    _clear()
    kubectl("apply", "-f", str(ROOT / "manifests"))
    kubectl("label", "namespace", *objects.NAMESPACES[:2], MADE_BY_TESTS)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests"))
    kubectl("apply", "-f", "-", content=objects.surroundings(_redis_image()))
    change = [{"op": "replace", "path": "/spec/containers/0/image", "value": images["serve"]}]
    kubectl("-n", objects.SERVING, "patch", "servingruntime", "lodestar", "--type=json", "-p", json.dumps(change))
    kubectl("-n", objects.TEST, "rollout", "status", "deployment/redis", "--timeout=180s")


def _clear() -> None:
    """Away with what an earlier run left; what someone else made is left alone."""
    found = kubectl("get", "namespace", *objects.NAMESPACES, "--ignore-not-found", "-o", "name").split()
    made = kubectl("get", "namespace", "-l", MADE_BY_TESTS, "-o", "name").split()
    if not set(found) <= set(made):
        pytest.fail(f"{', '.join(sorted(set(found) - set(made)))} is there and was not made by these tests; they want a cluster without it")
    if found:
        kubectl("delete", "--wait", "--timeout=300s", *found)


def _redis_image() -> str:
    name = f"{_registry()}/redis:debian"
    folder = str(ROOT / "tests" / "cluster" / "redis")
    _shell(
        "buildah", "build", "--layers", "--network=host", "--tls-verify=false", f"--build-arg=BASE_IMAGE={_base()}", f"--tag={name}", folder
    )
    _shell("buildah", "push", "--tls-verify=false", name)
    return name


def _registry() -> str:
    return os.environ["IMAGE_REGISTRY"]


def _base() -> str:
    return os.environ.get("BASE_IMAGE", f"{_registry()}/python:3.11")


def _shell(*command: str) -> None:
    """Run it at the root; buildah does without what a container of its own may lack."""
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def prefix() -> str:
    """Where in the bucket this run of the tests keeps everything."""
    return f"{BUCKET}/test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def shop(_cluster: None, prefix: str) -> Shop:
    return Shop(f"{prefix}/shop")


@pytest.fixture(scope="session")
def compiled(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pipeline's one file, for the registry of this cluster."""
    file = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    assert main(["compile", "--registry", _registry(), "--output", str(file)]) == 0
    return file


@pytest.fixture(scope="session")
def parameters(shop: Shop, prefix: str) -> dict[str, Any]:
    """What a user types after `kfp run create`."""
    return {
        "data": f"{shop.address}/",
        "recipe": "shop",
        "overrides": json.loads(OVERRIDES),
        "destination": f"{prefix}/bundles",
        "service": objects.SERVICE,
    }


@pytest.fixture(scope="session")
def seen_jobs() -> list[dict[str, Any]]:
    """Training jobs that were there while a train step ran."""
    return []


@pytest.fixture(scope="session")
def backend(applied: None, prefix: str, seen_jobs: list[dict[str, Any]]) -> Iterator[Backend]:
    """A Pipelines backend whose steps may do what manifests/overlays/pipelines says; it writes down the inputs of each run."""

    def watch(task: str, _pod: str) -> None:
        if task == "train":
            seen_jobs.extend(json.loads(kubectl("-n", objects.TRAINING, "get", "pytorchjobs", "-o", "json"))["items"])

    keys = {
        "aws_access_key_id": objects.KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": objects.KEYS["AWS_SECRET_ACCESS_KEY"],
        "region_name": objects.KEYS["AWS_DEFAULT_REGION"],
        "endpoint_url": f"http://{objects.S3_INSIDE}",
    }
    for entry in pods.surroundings(keys):
        kubectl("apply", "-f", "-", content=entry)
    kubectl("apply", "-k", str(ROOT / "manifests" / "overlays" / "pipelines"))
    kubectl("apply", "-f", "-", content=objects.pipeline_settings())
    made = Backend(f"{prefix}/artifacts", watch)
    yield made
    made.write_log(ROOT / "build" / "cluster-runs.json")


@pytest.fixture(scope="session")
def first_run(backend: Backend, compiled: Path, parameters: dict[str, Any]) -> RunResult:
    """Data to a service that answers, once."""
    run = backend.run(compiled, parameters)
    assert not run.failed, run.failed[0].log[-4000:]
    return run


@pytest.fixture(scope="session")
def stage(first_run: RunResult) -> Stage:
    """What the first run left: features and bundle as artifacts, and the address of what it released."""
    return Stage(features=first_run.uri("build-features", "features"), bundle=str(first_run.steps["publish"].parameters["Output"]))


@pytest.fixture(scope="session")
def job(stage: Stage, features: Path, prefix: str, images: dict[str, str]) -> TrainingJob:
    """Training as the first run did it, started from outside of a pipeline."""
    return TrainingJob(
        name=f"train-{prefix.rpartition('-')[2]}",
        namespace=objects.TRAINING,
        image=images["train"],
        features=stage.features,
        features_digest=storage.digest(features),
        bundle=f"{prefix}/jobs/first",
        checkpoints=f"{prefix}/checkpoints",
        recipe="shop",
        overrides=OVERRIDES,
        workers=2,
        cpu="200m",
        memory="2Gi",
    )


@pytest.fixture(scope="session")
def features(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return objects.downloaded(stage.features, tmp_path_factory.mktemp("stage") / "features")


@pytest.fixture(scope="session")
def first(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released bundle, as it came back from S3."""
    return storage.download(stage.bundle, tmp_path_factory.mktemp("stage") / "first")


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """Speaks to the gateway under the route's host name."""
    with httpx.Client(base_url=GATEWAY, headers={"Host": HOST_NAME}, timeout=10) as made:
        yield made


@pytest.fixture(scope="session")
def served(first: Path, client: httpx.Client) -> str:
    """The digest of the bundle that answers, once it does: the pipeline's last step has set it."""
    digest = bundle.load(first).digest
    eventually(lambda: _answers(client, digest), READY_S, lambda: kubectl("-n", objects.SERVING, "get", "pods,events"))
    return digest


def _answers(client: httpx.Client, digest: str) -> bool:
    try:
        answer = client.get("/v1/recommend", params={"user": "nobody"})
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["model"]["digest"] == digest
