"""The compiled pipeline is one file that a backend accepts and a laptop runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.image import code_hash, reference
from pipelines.recommend import PIPELINE, compile_to

ROLES = {
    "ingest": "features",
    "build-features": "features",
    "train": "train",
    "evaluate": "train",
    "compress": "train",
    "gate": "launcher",
    "deploy": "launcher",
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_to(target, "registry.example:5000")
    return target


@pytest.fixture(scope="module")
def documents(compiled: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(compiled.read_text()))


@pytest.fixture(scope="module")
def spec(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


def test_credentials_are_named_and_may_be_absent(documents: list[dict[str, Any]]) -> None:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert {name for name, settings in executors.items() if "secretAsEnv" in settings} == {"exec-ingest", "exec-train", "exec-deploy"}
    sources = [source for settings in executors.values() for kind in ("secretAsEnv", "configMapAsEnv") for source in settings.get(kind, ())]
    assert all(source["optional"] for source in sources)


def test_compiling_twice_gives_the_same_bytes(compiled: Path, tmp_path: Path) -> None:
    compile_to(tmp_path / "again.yaml", "registry.example:5000")
    assert (tmp_path / "again.yaml").read_bytes() == compiled.read_bytes()


def test_there_are_at_most_six_parameters_all_with_defaults(spec: dict[str, Any]) -> None:
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert len(parameters) <= 6
    assert all("defaultValue" in parameter for parameter in parameters.values())


@pytest.mark.parametrize(("step", "role"), ROLES.items())
def test_each_step_runs_in_the_image_of_its_role(spec: dict[str, Any], step: str, role: str) -> None:
    container = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    assert container["image"] == reference(role, "registry.example:5000")


def test_no_step_installs_anything_when_it_starts(compiled: Path) -> None:
    assert "pip install" not in compiled.read_text()


def test_the_gate_returns_one_unnamed_bool(spec: dict[str, Any]) -> None:
    outputs = spec["components"]["comp-gate"]["outputDefinitions"]["parameters"]
    assert outputs == {"Output": {"parameterType": "BOOLEAN"}}


def test_only_a_model_that_passed_is_deployed(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    conditional = {name: task["triggerPolicy"]["condition"] for name, task in tasks.items() if "triggerPolicy" in task}
    assert list(conditional.values()) == ["inputs.parameter_values['pipelinechannel--gate-Output'] == true"]
    inner = spec["components"][tasks[next(iter(conditional))]["componentRef"]["name"]]["dag"]["tasks"]
    assert set(inner) == {"deploy"}
    assert not inner["deploy"]["cachingOptions"].get("enableCache")


def test_every_executor_is_known(spec: dict[str, Any]) -> None:
    assert spec["pipelineInfo"]["name"] == PIPELINE
    assert set(spec["deploymentSpec"]["executors"]) == {f"exec-{step}" for step in ROLES}


def test_the_image_tag_is_the_codes_own_hash() -> None:
    assert reference("train").endswith(f"/lodestar-python-train:{code_hash()}")
