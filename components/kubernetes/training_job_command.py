"""`lodestar training-job`: print a training job as YAML."""

import sys
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

from components.kubernetes.training_job import TrainingJob, manifest, training_runtime
from lodestar.io.exits import run_command
from lodestar.process.command_line import Parser, add_option
from lodestar.recipes import merge_overrides

PROGRAM = "lodestar training-job"
OPTIONS = {  # by field: placeholder and meaning
    "kind": ("KIND", "PyTorchJob of the training-operator, or TrainJob of Kubeflow Trainer"),
    "name": ("NAME", "name of the job"),
    "namespace": ("NAME", "namespace of the job"),
    "image": ("IMAGE", "container image of the role train"),
    "workers": ("N", "number of pods"),
    "min_workers": ("N", "number of pods that an elastic PyTorchJob continues with, 0 for a fixed number"),
    "service_account": ("NAME", "service account of the pods"),
    "secret": ("NAME", "Secret with the object store's credentials"),
    "cpu": ("QUANTITY", "CPU request of a pod"),
    "memory": ("QUANTITY", "memory limit of a pod"),
    "memory_request": ("QUANTITY", "memory request of a pod (default: its limit)"),
    "shm": ("QUANTITY", "size of a pod's /dev/shm, which counts towards its memory"),
    "gpus": ("N", "GPUs of a pod, each with one process"),
    "accelerator": ("NAME", "resource name of a GPU"),
    "queue": ("NAME", "Kueue queue (default: none)"),
}
# Fields that are options of other commands too, and those whose name is another option there.
SHARED = {
    name: f"--{name.replace('_', '-')}" for name in ("features", "features_digest", "checkpoints", "heartbeat", "recipe", "overrides")
}
SHARED["bundle"] = "--destination"
RENAMED = {"memory": "--pod-memory", "memory_request": "--pod-memory-request"}


def main(arguments: list[str] | None = None) -> int:
    """Print the manifest of a job as YAML, for a TrainJob with its TrainingRuntime; returns the exit code."""
    return run_command(PROGRAM, partial(_print, vars(parser().parse_args(arguments))))


def _print(options: dict[str, Any]) -> int:
    import yaml

    job = TrainingJob(**options | {"overrides": merge_overrides(options["overrides"])})
    parts = [manifest(job)] if job.kind == "PyTorchJob" else [training_runtime(job.namespace), manifest(job)]
    sys.stdout.write(yaml.safe_dump_all(parts, sort_keys=False))
    return 0


def parser() -> Parser:
    """The parser of `lodestar training-job`: an option for each field of TrainingJob, the bundle's address as `--destination`."""
    parser = Parser(
        prog=PROGRAM,
        description="Print a training job, for `kubectl apply -f -`.",
        examples=[
            "lodestar training-job --name train --namespace lodestar-training --image lodestar-python-train:v1 --recipe sasrec "
            "--features s3://bucket/features --destination s3://bucket/first --checkpoints s3://bucket/checkpoints"
        ],
    )
    for entry in (entry for entry in fields(TrainingJob) if entry.name in OPTIONS or entry.name in SHARED):
        needed: dict[str, Any] = {"required": True} if entry.default is MISSING else {"default": entry.default}
        if entry.name == "overrides":
            add_option(parser, "--overrides")
        elif entry.name in SHARED:
            add_option(parser, SHARED[entry.name], dest=entry.name, **needed)
        else:
            name, (metavar, meaning) = RENAMED.get(entry.name, f"--{entry.name.replace('_', '-')}"), OPTIONS[entry.name]
            kind = int if metavar == "N" else str
            parser.add_argument(name, dest=entry.name, type=kind, metavar=metavar, help=meaning, **needed)
    return parser


if __name__ == "__main__":
    sys.exit(main())
