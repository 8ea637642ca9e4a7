"""The API server takes what the guide says to type, and every overlay, admission and Pod Security included; nothing is made."""

import json
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from tests.cluster.steps import kubectl
from tests.contract.guide_commands import commands
from tests.contract.kustomize import OVERLAYS, rendered

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("places")]

ROOT = OVERLAYS.parents[1]
QUIETLY = ("--ignore-not-found", "-o", "name")
SECRETS = ROOT / "manifests" / "secrets"


@pytest.fixture(scope="module")
def places() -> Iterator[None]:
    """The namespaces and the Secret that commands name; those that are not there yet are made for as long."""
    made: list[tuple[str, ...]] = [
        ("namespace", name) for name in ("lodestar", "lodestar-training", "kubeflow") if not kubectl("get", "ns", name, *QUIETLY)
    ]
    for words in made:
        kubectl("create", *words)
    if not kubectl("-n", "lodestar", "get", "secret", "lodestar-predictor", *QUIETLY):
        kubectl("-n", "lodestar", "create", "secret", "generic", "lodestar-predictor", f"--from-env-file={SECRETS / 'predictor.env'}")
        made.insert(0, ("-n", "lodestar", "secret", "lodestar-predictor"))
    yield
    for words in made:
        kubectl("delete", *words, "--wait=false")


def known() -> set[str]:
    """Kinds that the server knows; who installs no Kubeflow Trainer or spark-operator has no kinds of theirs."""
    return {line.split()[-1] for line in kubectl("api-resources", "--no-headers").splitlines()}


def dry(*words: str, content: object | None = None) -> None:
    given = None if content is None else json.dumps(content)
    command = ["kubectl", *words, "--dry-run=server"]
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    assert "would violate PodSecurity" not in done.stderr, done.stderr


@pytest.mark.parametrize("words", commands("kubectl"), ids=" ".join)
def test_the_server_takes_a_command_of_the_guide(words: list[str]) -> None:
    if "-k" in words and not {thing["kind"] for thing in rendered(ROOT / words[words.index("-k") + 1])} <= known():
        pytest.skip("this cluster has no such kind")
    if "secret" in words and "create" in words:
        local = [word.replace("--from-env-file=", f"--from-env-file={SECRETS}/") for word in words]
        dry("apply", "-f", "-", content=json.loads(kubectl(*local, "--dry-run=client", "-o", "json")))
    else:
        dry(*words)


@pytest.mark.parametrize("overlay", sorted(path.name for path in OVERLAYS.iterdir()))
def test_the_server_takes_every_overlay(overlay: str) -> None:
    missing = {thing["kind"] for thing in rendered(OVERLAYS / overlay)} - known()
    if missing:
        pytest.skip(f"this cluster has no {', '.join(sorted(missing))}")
    things = list(yaml.safe_load_all(kubectl("kustomize", str(OVERLAYS / overlay))))
    for thing in things:
        if thing["kind"] == "InferenceService":  # KServe changes no mode of one that is there
            thing["metadata"]["name"] += "-anew"
    dry("apply", "--server-side", "--force-conflicts", "-f", "-", content={"apiVersion": "v1", "kind": "List", "items": things})
