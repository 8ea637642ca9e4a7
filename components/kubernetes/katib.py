"""Hyperparameter search as a Katib Experiment, with the search space of `lodestar tune`; each trial is a training job."""

import json
import re
from dataclasses import replace

from components.kubernetes.training_api import Object
from components.kubernetes.training_job import CONTAINER, TrainingJob, manifest
from lodestar.evaluation.gate import PRIMARY_METRIC
from lodestar.tuning.space import Choice, Range, Space

SUCCEEDED, FAILED = (f'status.conditions.#(type=="{state}")#|#(status=="True")#' for state in ("Succeeded", "Failed"))


def experiment(job: TrainingJob, space: Space, trials: int, parallel: int) -> Object:
    """Katib Experiment (TPE, median stopping) whose trials are `job` with hyperparameters of the space; each has its own bundle address."""
    short = {name: name.partition(".")[2] for name in space}
    trial = replace(job, name="trial", overrides=_template(job.overrides, space), bundle=f"{job.bundle}/${{trialParameters.trial}}")
    trial = replace(trial, checkpoints=f"{job.checkpoints}/${{trialParameters.trial}}")
    body = manifest(trial)
    parameters = [{"name": short[name], "reference": short[name]} for name in space] + [{"name": "trial", "reference": "${trialSpec.Name}"}]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {"name": job.name, "namespace": job.namespace, "labels": body["metadata"]["labels"]},
        "spec": {
            "objective": {
                "type": "maximize",
                "objectiveMetricName": PRIMARY_METRIC,
                "metricStrategies": [{"name": PRIMARY_METRIC, "value": "max"}],
            },
            "algorithm": {"algorithmName": "tpe"},
            "earlyStopping": {"algorithmName": "medianstop", "algorithmSettings": [{"name": "start_step", "value": "4"}]},
            "maxTrialCount": trials,
            "parallelTrialCount": parallel,
            "maxFailedTrialCount": max(1, trials // 4),
            "parameters": [_parameter(short[name], allowed) for name, allowed in space.items()],
            "metricsCollectorSpec": {
                "collector": {"kind": "StdOut"},
                "source": {"filter": {"metricsFormat": [f'"({PRIMARY_METRIC})": ([0-9.e-]+)']}},
            },
            "trialTemplate": {
                "primaryContainerName": CONTAINER,
                "primaryPodLabels": {"training.kubeflow.org/replica-type": "master"},
                "successCondition": SUCCEEDED,
                "failureCondition": FAILED,
                "trialParameters": parameters,
                "trialSpec": {"apiVersion": body["apiVersion"], "kind": body["kind"], "spec": body["spec"]},
            },
        },
    }


def _template(fixed: str, space: Space) -> str:
    """Overrides as a template: the fixed values, and Katib's placeholders for the hyperparameters."""
    sections: dict[str, dict[str, object]] = json.loads(fixed)
    for name in space:
        section, field = name.split(".")
        sections.setdefault(section, {})[field] = f"${{trialParameters.{field}}}"
    return re.sub(r'"(\$\{trialParameters\.\w+\})"', r"\1", json.dumps(sections))


def _parameter(name: str, allowed: Range | Choice) -> Object:
    if isinstance(allowed, Choice):
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": [str(value) for value in allowed.values]}}
    scale = {"distribution": "logUniform"} if allowed.log else {}
    ends = {"min": str(allowed.low), "max": str(allowed.high)}
    return {"name": name, "parameterType": "int" if allowed.is_whole else "double", "feasibleSpace": {**ends, **scale}}
