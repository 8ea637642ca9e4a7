"""Compiled pipeline files: reading them, and checking their parameters and features that a local run ignores."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from components.images.image import code_hash
from lodestar.errors import UsageError

MAX_BYTES = 1 << 24  # a hundred times our file's size, so that a data file given by mistake is not read completely


def load_documents(pipeline: Path) -> list[dict[str, Any]]:
    """The pipeline specification and, if present, the platform document; raises UsageError if the file is not a compiled pipeline."""
    import yaml

    try:
        found = list(yaml.safe_load_all(pipeline.read_text())) if pipeline.stat().st_size <= MAX_BYTES else []
        if found and {"root", "deploymentSpec"} <= found[0].keys():
            return found
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError):
        pass
    raise UsageError(
        f"{pipeline} is not a compiled pipeline: write one with `lodestar compile`, and give data as --data {pipeline}", code="E309"
    )


def check_parameters(pipeline: Path, names: Collection[str]) -> None:
    """Raise UsageError if the file's parameters differ from this version's, since another version compiled it."""
    known = set(load_documents(pipeline)[0]["root"].get("inputDefinitions", {}).get("parameters", {}))
    if known != set(names):
        raise UsageError(
            f"{pipeline} has the parameters {', '.join(sorted(known)) or 'none'}, and this version has {', '.join(sorted(names))}: "
            "compile it again with `lodestar compile`",
            code="E309",
        )


def unsupported_locally(pipeline: Path) -> list[str]:
    """Settings of the compiled file that a local run ignores: images, resources, retries and Kubernetes settings."""
    spec, *platforms = load_documents(pipeline)
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    images = {container["image"] for container in containers}
    tags, code = {image.rpartition(":")[2] for image in images}, code_hash()
    difference = "" if tags == {code} else f", whose code ({code}) differs from the compiled one ({', '.join(sorted(tags))})"
    notes = [f"{len(images)} container images (steps run in this Python{difference})"]
    requests = sum("resources" in container for container in containers)
    if requests:
        notes.append(f"CPU and memory of {requests} steps")
    dags = [spec["root"]["dag"], *(component["dag"] for component in spec["components"].values() if "dag" in component)]
    retries = sum("retryPolicy" in task for dag in dags for task in dag["tasks"].values())
    if retries:
        notes.append(f"retries of {retries} steps")
    return [*notes, "Kubernetes settings of the platform document"] if platforms else notes
