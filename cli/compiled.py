"""What a compiled pipeline file says of itself."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from components.image import code_hash
from lodestar.errors import UsageError

MOST_BYTES = 1 << 24  # a hundred times what ours has: a log that was given by mistake is not read to its end


def documents(pipeline: Path) -> list[dict[str, Any]]:
    """The pipeline's specification, and where there is one its platform document; UsageError where the file is no compiled pipeline."""
    import yaml

    try:
        found = list(yaml.safe_load_all(pipeline.read_text())) if pipeline.stat().st_size <= MOST_BYTES else []
        if found and {"root", "deploymentSpec"} <= found[0].keys():
            return found
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError):
        pass
    raise UsageError(f"{pipeline} is no compiled pipeline: write one with `lodestar compile`, and give data as --data {pipeline}")


def check_parameters(pipeline: Path, names: Collection[str]) -> None:
    """UsageError where the file's parameters are others: it was compiled by another version."""
    known = set(documents(pipeline)[0]["root"].get("inputDefinitions", {}).get("parameters", {}))
    if known != set(names):
        raise UsageError(
            f"{pipeline} takes the parameters {', '.join(sorted(known)) or 'none'}, and this version gives {', '.join(sorted(names))}: "
            "compile it again with `lodestar compile`"
        )


def ignored(pipeline: Path) -> list[str]:
    """What the compiled file asks of a cluster and a laptop does not give."""
    spec, *platforms = documents(pipeline)
    containers = [executor["container"] for executor in spec["deploymentSpec"]["executors"].values()]
    images = {container["image"] for container in containers}
    tags, here = {image.rpartition(":")[2] for image in images}, code_hash()
    other = "" if tags == {here} else f", whose code ({here}) is not the one that was compiled ({', '.join(sorted(tags))})"
    notes = [f"{len(images)} container images: steps run in this Python{other}"]
    requests = sum("resources" in container for container in containers)
    if requests:
        notes.append(f"CPU and memory of {requests} steps")
    dags = [spec["root"]["dag"], *(component["dag"] for component in spec["components"].values() if "dag" in component)]
    retries = sum("retryPolicy" in task for dag in dags for task in dag["tasks"].values())
    if retries:
        notes.append(f"retries of {retries} steps")
    return [*notes, "Kubernetes settings of the platform document"] if platforms else notes
