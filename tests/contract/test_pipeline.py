"""The compiled pipeline is one file that a backend accepts and a laptop runs."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import main
from cli.pipeline_file import unsupported_locally
from components.execution.step_order import STEPS
from components.images import image
from components.images.image import code_hash, image_reference
from pipelines.recommend import PIPELINE, compile_to
from pipelines.resources import RESOURCES

ROOT = Path(__file__).parents[2]
ROLES = {
    "version": "features",
    "ingest": "features",
    "build-features": "features",
    "train": "train",
    "compress": "train",
    "evaluate": "train",
    "gate": "launcher",
    "publish": "features",
    "deploy": "launcher",
}
NEVER_CACHED = {"version", "publish", "deploy"}


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
    assert {name for name, settings in executors.items() if "secretAsEnv" in settings} == {
        "exec-version",
        "exec-ingest",
        "exec-train",
        "exec-publish",
        "exec-deploy",
    }
    sources = [source for settings in executors.values() for kind in ("secretAsEnv", "configMapAsEnv") for source in settings.get(kind, ())]
    assert all(source["optional"] for source in sources)


def test_compiling_twice_gives_the_same_bytes(compiled: Path, tmp_path: Path) -> None:
    compile_to(tmp_path / "again.yaml", "registry.example:5000")
    assert (tmp_path / "again.yaml").read_bytes() == compiled.read_bytes()


def test_there_are_at_most_six_parameters_all_with_defaults(spec: dict[str, Any]) -> None:
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    types = {name: parameter["parameterType"] for name, parameter in parameters.items()}
    texts = dict.fromkeys(("data", "recipe", "destination", "service"), "STRING")
    assert types == texts | {"quarantine": "BOOLEAN", "overrides": "STRUCT"}
    assert all("defaultValue" in parameter for parameter in parameters.values())


@pytest.mark.parametrize(("step", "role"), ROLES.items())
def test_each_step_runs_in_the_image_of_its_role(spec: dict[str, Any], step: str, role: str) -> None:
    container = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    assert container["image"] == image_reference(role, "registry.example:5000")


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
    assert set(inner) == {"publish", "deploy"}
    assert inner["deploy"]["dependentTasks"] == ["publish"]


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every step's task, those behind the condition too."""
    dags = [spec["root"]["dag"], *(component["dag"] for component in spec["components"].values() if "dag" in component)]
    return {name: task for dag in dags for name, task in dag["tasks"].items() if name in ROLES}


def test_what_depends_on_the_time_or_changes_the_world_is_never_cached(spec: dict[str, Any]) -> None:
    cached = {name for name, task in tasks(spec).items() if task["cachingOptions"].get("enableCache")}
    assert cached == set(ROLES) - NEVER_CACHED


def test_no_cached_step_sees_when_the_run_began(spec: dict[str, Any]) -> None:
    """Nor anything else of an uncached step's but the version of the data."""
    seen = {
        (name, source["taskOutputParameter"]["outputParameterKey"])
        for name, task in tasks(spec).items()
        for source in task.get("inputs", {}).get("parameters", {}).values()
        if source.get("taskOutputParameter", {}).get("producerTask") in NEVER_CACHED and name not in NEVER_CACHED
    }
    assert seen == {("ingest", "data_version")}
    from_artifacts = {
        source["taskOutputArtifact"]["producerTask"]
        for task in tasks(spec).values()
        for source in task.get("inputs", {}).get("artifacts", {}).values()
        if "taskOutputArtifact" in source
    }
    assert not from_artifacts & NEVER_CACHED


def test_the_bundle_that_is_evaluated_is_the_one_that_goes_out(spec: dict[str, Any]) -> None:
    evaluated = spec["root"]["dag"]["tasks"]["evaluate"]["inputs"]["artifacts"]
    sources = {name: source["taskOutputArtifact"] for name, source in evaluated.items()}
    assert sources["bundle"] == {"outputArtifactKey": "bundle", "producerTask": "compress"}
    assert sources["uncompressed"] == {"outputArtifactKey": "bundle", "producerTask": "train"}
    condition = next(task for task in spec["root"]["dag"]["tasks"].values() if "triggerPolicy" in task)
    published = spec["components"][condition["componentRef"]["name"]]["dag"]["tasks"]["publish"]["inputs"]["artifacts"]["bundle"]
    given = condition["inputs"]["artifacts"][published["componentInputArtifact"]]["taskOutputArtifact"]
    assert given == sources["bundle"]


def test_a_step_asks_for_what_fits_it_and_is_stopped_where_it_takes_more(spec: dict[str, Any]) -> None:
    assert set(RESOURCES) == set(STEPS)
    for step, asked in RESOURCES.items():
        given = spec["deploymentSpec"]["executors"][f"exec-{step.replace('_', '-')}"]["container"]["resources"]
        assert (given["resourceCpuRequest"], given["resourceMemoryRequest"]) == (asked.cpu, asked.memory)
        assert given["resourceMemoryLimit"] == asked.most_memory
    assert RESOURCES["gate"].memory == "256Mi"


def test_a_step_of_large_data_is_given_more_memory(tmp_path: Path) -> None:
    assert main(["compile", "--memory", "evaluate=64Gi", "--output", str(tmp_path / "p.yaml")]) == 0
    executors = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))["deploymentSpec"]["executors"]
    given = executors["exec-evaluate"]["container"]["resources"]
    assert (given["resourceMemoryRequest"], given["resourceMemoryLimit"]) == ("64Gi", "64Gi")
    assert executors["exec-compress"]["container"]["resources"]["resourceMemoryLimit"] == RESOURCES["compress"].most_memory
    for wrong in ("evaluate=lots", "evaluate=0Gi", "score=1Gi", "evaluate"):
        assert main(["compile", "--memory", wrong, "--output", str(tmp_path / "wrong.yaml")]) == 2
    assert not (tmp_path / "wrong.yaml").exists()


def test_what_does_nothing_twice_is_tried_again(spec: dict[str, Any]) -> None:
    tried = {name: task.get("retryPolicy", {}).get("maxRetryCount", 0) for name, task in tasks(spec).items()}
    assert tried == {name: 0 if name in {"version", "gate", "deploy"} else 2 for name in ROLES}


def test_every_executor_is_known(spec: dict[str, Any]) -> None:
    assert spec["pipelineInfo"]["name"] == PIPELINE
    assert set(spec["deploymentSpec"]["executors"]) == {f"exec-{step}" for step in ROLES}


def test_a_file_of_other_code_is_told_from_ones_own(compiled: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(compiled.read_text().replace(code_hash(), "0123456789ab"))
    assert "3 container images (steps run in this Python)" in unsupported_locally(compiled)
    assert f"whose code ({code_hash()}) differs from the compiled one (0123456789ab)" in unsupported_locally(other)[0]


def test_the_image_tag_is_the_codes_own_hash() -> None:
    assert image_reference("train").endswith(f"/lodestar-python-train:{code_hash()}")


@pytest.mark.parametrize("name", ["code.py", "settings.yaml", "page.html", "style.css"])
def test_a_changed_file_of_any_kind_changes_the_tag(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_folder", lambda _package: tmp_path)
    (tmp_path / name).write_text("before")
    before = image.code_hash()
    (tmp_path / name).write_text("after")
    assert image.code_hash() != before


def test_what_packages_hold_is_part_of_the_tag() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    kinds = {Path(pattern).suffix for patterns in listed.values() for pattern in patterns if pattern != "py.typed"}
    assert kinds
    assert kinds < image.SOURCES


def test_what_is_set_on_the_train_task_is_for_the_job_that_it_starts(spec: dict[str, Any], documents: list[dict[str, Any]]) -> None:
    component = spec["components"]["comp-train"]
    assert component["inputDefinitions"]["parameters"]["task_config"]["parameterType"] == "TASK_CONFIG"
    passed = {entry["field"]: entry.get("applyToTask", False) for entry in component["taskConfigPassthroughs"]}
    to_the_job = {"RESOURCES", "KUBERNETES_TOLERATIONS", "KUBERNETES_NODE_SELECTOR", "KUBERNETES_AFFINITY"}
    assert passed == {**dict.fromkeys(to_the_job, False), "ENV": True}
    executor = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    assert {entry["fieldPath"] for entry in executor["fieldPathAsEnv"]} == {"metadata.name", "metadata.uid", "metadata.namespace"}
