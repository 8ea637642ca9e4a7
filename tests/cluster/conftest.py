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

import httpx
import pytest

from components.image import reference
from components.jobs import TrainingJob
from components.launch import launch
from lodestar import bundle, storage
from tests.cluster import objects
from tests.cluster.steps import BUCKET, OVERRIDES, Stage, eventually, kubectl, run

ROOT = Path(__file__).parents[2]
NODE = os.environ.get("NODE_ADDRESS", os.environ.get("IMAGE_REGISTRY", "127.0.0.1").partition(":")[0])
GATEWAY = os.environ.get("LODESTAR_GATEWAY", f"http://{NODE}:30080")
S3_HERE = os.environ.get("LODESTAR_S3", f"http://{NODE}:30070")
HOST_NAME = "recommend.example.com"
DATA = "simulator:users=300,items=120,events=15000"
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
    return {role: reference(role, _registry()) for role in ROLES}


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
def stage(applied: None, images: dict[str, str]) -> Stage:
    """Features that pods of the features image built, wrote to Redis and put into S3, and the bundle that a PyTorchJob made of them."""
    prefix = f"{BUCKET}/test-{uuid.uuid4().hex[:8]}"
    made = Stage(prefix=prefix, features=f"{prefix}/features", bundle=f"{prefix}/bundles/first")
    run(objects.features_pod(images["features"], DATA, OVERRIDES, made.features))
    launch(_job(made, images))
    return made


@pytest.fixture(scope="session")
def job(stage: Stage, images: dict[str, str]) -> TrainingJob:
    """What trained the first bundle."""
    return _job(stage, images)


def _job(stage: Stage, images: dict[str, str]) -> TrainingJob:
    return TrainingJob(
        name=f"train-{stage.prefix.rpartition('-')[2]}",
        namespace=objects.TRAINING,
        image=images["train"],
        features=stage.features,
        bundle=stage.bundle,
        checkpoints=f"{stage.prefix}/checkpoints",
        recipe="shop",
        overrides=OVERRIDES,
        workers=2,
        cpu="200m",
        memory="2Gi",
    )


@pytest.fixture(scope="session")
def features(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return storage.download(stage.features, tmp_path_factory.mktemp("stage") / "features")


@pytest.fixture(scope="session")
def first(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained bundle, as it came back from S3."""
    return storage.download(stage.bundle, tmp_path_factory.mktemp("stage") / "first")


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """Speaks to the gateway under the route's host name."""
    with httpx.Client(base_url=GATEWAY, headers={"Host": HOST_NAME}, timeout=10) as made:
        yield made


@pytest.fixture(scope="session")
def served(images: dict[str, str], stage: Stage, first: Path, client: httpx.Client) -> str:
    """The digest of the bundle that answers, once it does."""
    run(objects.rollout_pod(images["launcher"], "start", "--bundle", stage.bundle))
    digest = bundle.load(first).digest
    eventually(lambda: _answers(client, digest), READY_S, lambda: kubectl("-n", objects.SERVING, "get", "pods,events"))
    return digest


def _answers(client: httpx.Client, digest: str) -> bool:
    try:
        answer = client.get("/v1/recommend", params={"user": "nobody"})
    except httpx.TransportError:
        return False
    return answer.status_code == 200 and answer.json()["model"]["digest"] == digest
