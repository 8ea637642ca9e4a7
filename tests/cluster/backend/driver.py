"""A compiled pipeline run as Kubeflow Pipelines runs it: one pod a step in the order of the graph, conditions, retries and the cache.

It reads the compiled file and knows nothing of its steps. What differs from the real backend: steps run one after the other, a step
costs no driver's pod, and requests are made small.
"""

import hashlib
import json
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import yaml

from tests.cluster.backend import pods
from tests.cluster.steps import kubectl

Object = dict[str, Any]

POLL_S, STEP_S = 1.0, 900.0
TERMINATED = 128 + signal.SIGTERM
CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == (true|false)")
PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What became of a task: `state` is succeeded, cached, skipped or failed."""

    name: str
    state: str
    seconds: float = 0.0
    exit_code: int = 0
    log: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What became of every task of a run, by its name, in the order in which they ran."""

    name: str
    steps: Mapping[str, TaskResult]

    @property
    def failed(self) -> list[TaskResult]:
        return [step for step in self.steps.values() if step.state == "failed"]

    def states(self) -> dict[str, str]:
        return {name: step.state for name, step in self.steps.items()}

    def uri(self, task: str, artifact: str) -> str:
        return str(self.steps[task].artifacts[artifact]["uri"])


class Backend:
    """Runs compiled pipelines in the cluster; artifacts lie under `root`, an `s3://` address, and the cache lives as long as this does.

    `watch` is called while a step's pod runs, with the task's and the pod's names.
    """

    def __init__(self, root: str, watch: Callable[[str, str], None] = lambda _task, _pod: None) -> None:
        self.watch = watch
        self._root = root.rstrip("/")
        self._cache: dict[str, TaskResult] = {}
        self._runs: list[RunResult] = []

    def run(self, pipeline: Path, arguments: Mapping[str, Any]) -> RunResult:
        """Run the file; a failed task ends the run, and what waits for it is not started."""
        spec, *rest = yaml.safe_load_all(pipeline.read_text())
        platforms = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"] if rest else {}
        run = _Run(self, spec, platforms, f"{spec['pipelineInfo']['name']}-{uuid.uuid4().hex[:6]}")
        known = spec["root"]["inputDefinitions"]["parameters"]
        unknown = arguments.keys() - known.keys()
        if unknown:
            raise TypeError(f"the pipeline has no parameters {sorted(unknown)}; it has {sorted(known)}")
        defaults = {name: entry["defaultValue"] for name, entry in known.items() if "defaultValue" in entry}
        run.dag(spec["root"]["dag"], {**defaults, **arguments}, {})
        self._runs.append(RunResult(name=run.name, steps=run.steps))
        return self._runs[-1]

    def write_log(self, file: Path) -> None:
        """Every run with what became of each step, in how many seconds, and where its artifacts lie."""
        runs = [
            {
                "run": run.name,
                "steps": {
                    step.name: {
                        "state": step.state,
                        "seconds": step.seconds,
                        "artifacts": [made["uri"] for made in step.artifacts.values()],
                    }
                    for step in run.steps.values()
                },
            }
            for run in self._runs
        ]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(runs, indent=2) + "\n")

    def artifact_root(self, run: str, task: str) -> str:
        return f"{self._root}/{run.rpartition('-')[0]}/{run}/{task}/{uuid.uuid4()}"

    def cached(self, key: str) -> TaskResult | None:
        return self._cache.get(key)

    def keep(self, key: str, step: TaskResult) -> None:
        self._cache[key] = step


class _Run:
    def __init__(self, backend: Backend, spec: Object, platforms: Object, name: str) -> None:
        self._backend, self._spec, self._platforms = backend, spec, platforms
        self.name, self.steps = name, dict[str, TaskResult]()

    def dag(self, dag: Object, parameters: Mapping[str, Any], artifacts: Mapping[str, Object]) -> None:
        done: dict[str, TaskResult] = {}
        for name, task in _in_order(dag["tasks"]):
            if all(other in done and done[other].state in {"succeeded", "cached"} for other in task.get("dependentTasks", ())):
                done[name] = self._task(name, task, *_inputs(task, parameters, artifacts, done))

    def _task(self, name: str, task: Object, parameters: dict[str, Any], artifacts: dict[str, Object]) -> TaskResult:
        component = self._spec["components"][task["componentRef"]["name"]]
        if not _holds(task, parameters):
            step = TaskResult(name=name, state="skipped")
        elif "dag" in component:
            self.dag(component["dag"], parameters, artifacts)
            step = TaskResult(name=name, state="succeeded")
        else:
            step = self._step(name, task, component, parameters, artifacts)
        self.steps[name] = step
        return step

    def _step(self, name: str, task: Object, component: Object, parameters: dict[str, Any], artifacts: dict[str, Object]) -> TaskResult:
        executor = self._spec["deploymentSpec"]["executors"][component["executorLabel"]]
        platform = self._platforms.get(component["executorLabel"], {})
        definitions = component.get("inputDefinitions", {}).get("parameters", {})
        for parameter, definition in definitions.items():
            if definition["parameterType"] == "TASK_CONFIG":
                parameters[parameter] = pods.task_config(executor, platform)
            elif parameter not in parameters and "defaultValue" in definition:
                parameters[parameter] = definition["defaultValue"]
        key = _key(executor, parameters, artifacts)
        is_cached = bool(task.get("cachingOptions", {}).get("enableCache"))
        found = self._backend.cached(key) if is_cached else None
        if found is not None:
            return TaskResult(name=name, state="cached", parameters=found.parameters, artifacts=found.artifacts)
        for _ in range(task.get("retryPolicy", {}).get("maxRetryCount", 0) + 1):
            step = self._attempt(name, component, executor, platform, (parameters, artifacts))
            if step.state == "succeeded":
                if is_cached:  # without, a backend makes no entry, and an older one stays as it is
                    self._backend.keep(key, step)
                break
        return step

    def _attempt(self, name: str, component: Object, executor: Object, platform: Object, inputs: tuple[Object, Object]) -> TaskResult:
        parameters, artifacts = inputs
        root = self._backend.artifact_root(self.name, name)
        outputs = component.get("outputDefinitions", {})
        made = {
            output: {"name": output, "uri": f"{root}/{output}", "type": entry["artifactType"], "metadata": {}}
            for output, entry in outputs.get("artifacts", {}).items()
        }
        executor_input = {
            "inputs": {"parameterValues": parameters, "artifacts": {key: {"artifacts": [value]} for key, value in artifacts.items()}},
            "outputs": {
                "parameters": {output: {"outputFile": f"/tmp/kfp/outputs/{output}"} for output in outputs.get("parameters", {})},
                "artifacts": {key: {"artifacts": [value]} for key, value in made.items()},
                "outputFile": "/tmp/kfp_outputs/output_metadata.json",
            },
        }
        result = f"{root}.result.json"
        pod_name = f"{self.name}-{name}-{uuid.uuid4().hex[:4]}"
        started_s = time.monotonic()
        kubectl("apply", "-f", "-", content=pods.pod(pod_name, executor, platform, executor_input, result))
        with pods.followed(pod_name) as said:
            exit_code = self._wait(name, pod_name)
        log = "".join(said)
        kubectl("-n", pods.NAMESPACE, "delete", "pod", pod_name, "--wait=false", "--ignore-not-found")
        seconds = round(time.monotonic() - started_s, 1)
        if exit_code:
            return TaskResult(name=name, state="failed", seconds=seconds, exit_code=exit_code, log=log)
        return TaskResult(name=name, state="succeeded", seconds=seconds, log=log, parameters=_said(result), artifacts=made)

    def _wait(self, task: str, name: str) -> int:
        """The exit code of the pod's one container; a pod that was deleted was terminated."""
        deadline_s = time.monotonic() + STEP_S
        while time.monotonic() < deadline_s:
            found = kubectl("-n", pods.NAMESPACE, "get", "pod", name, "--ignore-not-found", "-o", "json")
            if not found:
                return TERMINATED
            status = json.loads(found)["status"]
            for container in status.get("containerStatuses", ()):
                if "terminated" in container["state"]:
                    return int(container["state"]["terminated"]["exitCode"])
            if status["phase"] == "Running":
                self._backend.watch(task, name)
            time.sleep(POLL_S)
        raise TimeoutError(f"{name} runs for {STEP_S:.0f} s\n{kubectl('-n', pods.NAMESPACE, 'describe', 'pod', name)}")


def _in_order(tasks: Mapping[str, Object]) -> Iterator[tuple[str, Object]]:
    left = dict(sorted(tasks.items()))
    while left:
        name = next(name for name, task in left.items() if not left.keys() & set(task.get("dependentTasks", ())))
        yield name, left.pop(name)


def _inputs(
    task: Object, parameters: Mapping[str, Any], artifacts: Mapping[str, Object], done: Mapping[str, TaskResult]
) -> tuple[dict[str, Any], dict[str, Object]]:
    def parameter(source: Object) -> Any:
        if "componentInputParameter" in source:
            return parameters[source["componentInputParameter"]]
        if "taskOutputParameter" in source:
            producer = source["taskOutputParameter"]
            return done[producer["producerTask"]].parameters[producer["outputParameterKey"]]
        constant = source["runtimeValue"]["constant"]
        return PLACEHOLDER.sub(lambda match: str(found[match[1]]), constant) if isinstance(constant, str) else constant

    def artifact(source: Object) -> Object:
        if "componentInputArtifact" in source:
            return artifacts[source["componentInputArtifact"]]
        producer = source["taskOutputArtifact"]
        return done[producer["producerTask"]].artifacts[producer["outputArtifactKey"]]

    found: dict[str, Any] = {}
    given = task.get("inputs", {})
    for name, source in sorted(given.get("parameters", {}).items(), key=lambda pair: "runtimeValue" in pair[1]):
        found[name] = parameter(source)
    return found, {name: artifact(source) for name, source in given.get("artifacts", {}).items()}


def _holds(task: Object, parameters: Mapping[str, Any]) -> bool:
    condition = task.get("triggerPolicy", {}).get("condition")
    if condition is None:
        return True
    match = CONDITION.fullmatch(condition)
    if match is None:
        raise ValueError(f"this driver does not understand the condition {condition}")
    return bool(parameters[match[1]] is (match[2] == "true"))


def _key(executor: Object, parameters: Mapping[str, Any], artifacts: Mapping[str, Object]) -> str:
    """What a step is cached by: image, command and inputs; of artifacts their addresses, and never what lies there."""
    container = executor["container"]
    what = [container["image"], container.get("command"), container.get("args"), parameters, {k: v["uri"] for k, v in artifacts.items()}]
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _said(result: str) -> Mapping[str, Any]:
    bucket, _, key = result.removeprefix("s3://").partition("/")
    found: Object = json.loads(boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    said: Mapping[str, Any] = found.get("parameterValues", {})
    return said
