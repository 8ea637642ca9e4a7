"""Who holds which keys and which rights: a Secret for each role, and for the pipeline's steps the Roles that they need elsewhere."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.kubernetes.access_review import GRANT
from components.kubernetes.training_job import TrainingJob
from lodestar.process.environment_variables import FEAST_REGISTRY, REDIS
from pipelines.recommend import SETTINGS, STORAGE, STORAGE_KEYS, compile_to
from tests.contract.kustomize import OVERLAYS, objects, rendered

MANIFESTS = OVERLAYS.parent
# By role: namespace and name of its Secret, and who reads it.
HELD = {
    "predictor": ("lodestar", "lodestar-predictor", MANIFESTS / "base"),
    "collector": ("lodestar", "lodestar-collector", OVERLAYS / "collector"),
    "online-store": ("lodestar", "online-store", OVERLAYS / "online-store"),
    "trainer": ("lodestar-training", "lodestar-trainer", OVERLAYS / "pytorchjob"),
}


def named(thing: Any) -> set[str]:
    """Every Secret that an object names."""
    if isinstance(thing, list):
        return {name for part in thing for name in named(part)}
    if not isinstance(thing, dict):
        return set()
    found = {thing[key]["name"] for key in ("secretRef", "secretKeyRef") if key in thing}
    if thing.get("kind") == "ServiceAccount":
        found |= {entry["name"] for entry in thing.get("secrets", [])}
    return found | {name for part in thing.values() for name in named(part)}


def template(role: str) -> list[str]:
    """The keys of a role's Secret, those that not everybody needs too."""
    return re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (MANIFESTS / "secrets" / f"{role}.env").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("role", HELD)
def test_a_role_reads_its_own_secret_and_no_other(role: str) -> None:
    namespace, secret, folder = HELD[role]
    assert named(rendered(folder)) == {secret}
    command = f"kubectl -n {namespace} create secret generic {secret} --from-env-file={role}.env"
    assert command in (MANIFESTS / "secrets" / f"{role}.env").read_text()


def test_every_secret_has_a_template_with_every_key() -> None:
    assert {file.stem for file in (MANIFESTS / "secrets").iterdir()} == {*HELD, "pipeline"}
    for role in (*HELD.keys() - {"online-store"}, "pipeline"):
        assert set(STORAGE_KEYS) <= set(template(role)), role
    assert TrainingJob.secret == "lodestar-trainer"
    assert STORAGE == "lodestar-pipeline"


def test_steps_read_the_secret_and_the_settings_that_the_guide_makes(tmp_path: Path) -> None:
    compile_to(tmp_path / "pipeline.yaml")
    compiled = json.dumps(list(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())))
    assert set(re.findall(r'"secretName": "([^"]+)"', compiled)) == {"lodestar-pipeline"}
    (settings,) = objects(OVERLAYS / "pipelines" / "settings.yaml")
    assert (settings["metadata"]["name"], settings["metadata"]["namespace"]) == (SETTINGS, "kubeflow")
    assert settings["data"].keys() <= set(re.findall(r'"envVar": "([^"]+)"', compiled))


def test_steps_get_the_roles_that_train_and_deploy_need_and_no_other_right() -> None:
    roles = {
        (thing["metadata"]["namespace"], thing["metadata"]["name"]) for thing in rendered(MANIFESTS / "base") if thing["kind"] == "Role"
    }
    found = rendered(OVERLAYS / "pipelines")
    bindings = [thing for thing in found if thing["kind"] == "RoleBinding"]
    assert {(thing["metadata"]["namespace"], thing["roleRef"]["name"]) for thing in bindings} == roles
    assert {thing["kind"] for thing in found} == {"RoleBinding"}
    for binding in bindings:
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"}]
        assert binding["roleRef"]["kind"] == "Role"


def test_the_remedy_grants_rights_and_changes_no_setting() -> None:
    file = Path(GRANT.removeprefix("kubectl apply -f "))
    assert objects(MANIFESTS.parent / file) == rendered(OVERLAYS / "pipelines")


def test_the_settings_name_no_store_that_may_not_be_there() -> None:
    (settings,) = objects(OVERLAYS / "pipelines" / "settings.yaml")
    assert settings["data"] == {REDIS: ""}


def test_publishing_is_told_the_registry_from_the_secret(tmp_path: Path) -> None:
    compile_to(tmp_path / "pipeline.yaml")
    compiled = (tmp_path / "pipeline.yaml").read_text()
    assert compiled.count(f"envVar: {FEAST_REGISTRY}") == 1
    assert FEAST_REGISTRY in template("pipeline")
