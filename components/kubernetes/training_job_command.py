"""`lodestar training-job`: print a training job as YAML."""

import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from typing import Any

from components.kubernetes.training_api import KINDS
from components.kubernetes.training_job import TrainingJob, manifest, training_runtime
from lodestar.errors import UsageError
from lodestar.io.exits import run_command
from lodestar.io.storage import is_remote
from lodestar.process.command_line import Parser, add_option
from lodestar.process.option_values import count, given, image, object_name, quantity, whole_number
from lodestar.recipes import load_recipe, merge_overrides

PROGRAM = "lodestar training-job"
OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {  # by field: placeholder, form and meaning
    "kind": ("KIND", str, "PyTorchJob of the training-operator, or TrainJob of Kubeflow Trainer"),
    "name": ("NAME", object_name, "name of the job"),
    "image": ("IMAGE", image, "container image of the role train"),
    "workers": ("N", count, "number of pods"),
    "min_workers": ("N", whole_number(0), "number of pods that an elastic PyTorchJob continues with, 0 for a fixed number"),
    "service_account": ("NAME", object_name, "service account of the pods"),
    "secret": ("NAME", object_name, "Secret with the object store's credentials"),
    "cpu": ("QUANTITY", quantity, "CPU request of a pod"),
    "memory": ("QUANTITY", quantity, "memory limit of a pod"),
    "memory_request": ("QUANTITY", lambda text: text and quantity(text), "memory request of a pod (default: its limit)"),
    "shm": ("QUANTITY", quantity, "size of a pod's /dev/shm, which counts towards its memory"),
    "gpus": ("N", whole_number(0), "GPUs of a pod, each with one process"),
    "accelerator": ("NAME", given, "resource name of a GPU"),
    "queue": ("NAME", lambda text: text and object_name(text), "Kueue queue (default: none)"),
}
ADDRESSES = ("features", "bundle", "checkpoints")  # which pods on other machines read and write
# Fields that are options of other commands too, and those whose name is another option there.
SHARED = {
    name: f"--{name.replace('_', '-')}"
    for name in ("namespace", "features", "features_digest", "checkpoints", "heartbeat", "recipe", "overrides")
}
SHARED["bundle"] = "--destination"
RENAMED = {"memory": "--pod-memory", "memory_request": "--pod-memory-request"}


def main(arguments: list[str] | None = None) -> int:
    """Print the manifest of a job as YAML, for a TrainJob with its TrainingRuntime; returns the exit code."""
    return run_command(PROGRAM, partial(_print, vars(parser().parse_args(arguments))))


def _print(options: dict[str, Any]) -> int:
    import yaml

    load_recipe(options["recipe"], merge_overrides(options["overrides"]))
    for field in ADDRESSES:
        if not is_remote(options[field]):
            message = f"{SHARED[field]} {options[field]} is not an address that pods on any machine reach: write s3://BUCKET/FOLDER"
            raise UsageError(message, code="E314")
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
            name, (metavar, form, meaning) = RENAMED.get(entry.name, f"--{entry.name.replace('_', '-')}"), OPTIONS[entry.name]
            needed |= {"choices": tuple(KINDS)} if entry.name == "kind" else {}
            parser.add_argument(name, dest=entry.name, type=form, metavar=metavar, help=meaning, **needed)
    return parser


if __name__ == "__main__":
    sys.exit(main())
