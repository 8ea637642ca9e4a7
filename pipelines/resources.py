"""What each step asks of the cluster, and how often it is tried again."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kfp import dsl

from lodestar.errors import UsageError

BACKOFF, BACKOFF_FACTOR = "30s", 2.0
SIZE = re.compile(r"[1-9][0-9]*(Mi|Gi|Ti|M|G|T)")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """CPUs and memory as Kubernetes writes them: `memory` is what a step asks for, `most_memory` where it is stopped.

    `retries` repeat a step that does nothing twice: a node that goes away, or a store that does not answer, does not end the run.
    A cluster cannot tell a refusal from a fault, so a step that mostly refuses, and that a person waits for, is tried once.
    """

    cpu: str
    memory: str
    most_memory: str
    retries: int = 2


# Resident at most on the simulated shop (22,000 events), MiB: version 185, ingest 320, build_features 389, train 1,086, compress 192,
# evaluate 237, gate 187; of the least ones nearly all is kfp and what it imports.
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
    """`STEP=SIZE` texts as sizes by step; UsageError where one names no step or no size."""
    found = {}
    for text in settings:
        step, _, size = text.partition("=")
        if step not in RESOURCES or not SIZE.fullmatch(size):
            raise UsageError(f"{text!r} is no memory of a step: write train=64Gi; the steps are {', '.join(RESOURCES)}")
        found[step] = size
    return found


def with_resources(task: dsl.PipelineTask, step: str, sizes: Mapping[str, str]) -> dsl.PipelineTask:
    """The task with what its step asks for; a step of `sizes` asks for that much memory, and is stopped there."""
    asked = RESOURCES[step]
    least, most = sizes.get(step, asked.memory), sizes.get(step, asked.most_memory)
    task.set_cpu_request(asked.cpu).set_memory_request(least).set_memory_limit(most)
    if asked.retries:
        task.set_retry(num_retries=asked.retries, backoff_duration=BACKOFF, backoff_factor=BACKOFF_FACTOR)
    return task
