"""Resource requests, limits and retries of each step on the cluster."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kfp import dsl

from lodestar.errors import UsageError
from lodestar.process.safe_text import quoted
from lodestar.process.suggestions import suggestion

BACKOFF, BACKOFF_FACTOR = "30s", 2.0
SIZE = re.compile(r"[1-9][0-9]*(Mi|Gi|Ti|M|G|T)")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of a step as Kubernetes quantities: CPU request, memory request and memory limit (`most_memory`).

    `retries` are for idempotent steps, against lost nodes and stores that do not respond. Kubernetes cannot tell an invalid input from a
    fault, so steps that mostly validate, and that a user waits for, have none.
    """

    cpu: str
    memory: str
    most_memory: str
    retries: int = 2


# Peak resident memory on the simulated shop (22,000 events), MiB: version 185, ingest 320, build_features 389, train 1,086, compress 192,
# evaluate 237, gate 187; of the smallest, nearly all is kfp and its imports.
RESOURCES: dict[str, Resources] = {
    "version": Resources(cpu="100m", memory="256Mi", most_memory="1Gi", retries=0),
    "ingest": Resources(cpu="1", memory="512Mi", most_memory="4Gi"),
    "build_features": Resources(cpu="1", memory="1Gi", most_memory="8Gi"),
    "train": Resources(cpu="1", memory="2Gi", most_memory="16Gi"),
    "compress": Resources(cpu="1", memory="512Mi", most_memory="8Gi"),
    "evaluate": Resources(cpu="1", memory="512Mi", most_memory="16Gi"),
    "gate": Resources(cpu="100m", memory="256Mi", most_memory="512Mi", retries=0),
    "publish": Resources(cpu="500m", memory="1Gi", most_memory="4Gi"),
    "deploy": Resources(cpu="100m", memory="256Mi", most_memory="1Gi", retries=0),
}


def memory(settings: Sequence[str]) -> dict[str, str]:
    """Parse `STEP=SIZE` settings to memory sizes by step; raises UsageError for an unknown step or an invalid size."""
    found = {}
    for text in settings:
        step, _, size = text.partition("=")
        if step not in RESOURCES or not SIZE.fullmatch(size):
            near = suggestion(step, RESOURCES.keys() - {step}) or "."
            raise UsageError(
                f"{quoted(text)} is not a step's memory{near} Write train=64Gi; the steps are {', '.join(RESOURCES)}",
                code="E318",
            )
        found[step] = size
    return found


def with_resources(task: dsl.PipelineTask, step: str, sizes: Mapping[str, str]) -> dsl.PipelineTask:
    """Set requests, limits and retries of a step's task; a size in `sizes` is both its memory request and its limit."""
    resources = RESOURCES[step]
    request, limit = sizes.get(step, resources.memory), sizes.get(step, resources.most_memory)
    task.set_cpu_request(resources.cpu).set_memory_request(request).set_memory_limit(limit)
    if resources.retries:
        task.set_retry(num_retries=resources.retries, backoff_duration=BACKOFF, backoff_factor=BACKOFF_FACTOR)
    return task
