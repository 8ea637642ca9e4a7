"""How the cluster tests speak to a cluster: as its users do, by kubectl."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.objects import Object

BUCKET = "s3://lodestar"
OVERRIDES = '{"train": {"epochs": 8, "patience": 8}}'
POD_S, POLL_S = 600, 2


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the first run of the pipeline left in the bucket."""

    features: str
    bundle: str


def kubectl(*arguments: str, content: object | None = None) -> str:
    """What kubectl prints; a failure shows what it complained of."""
    done = subprocess.run(
        ["kubectl", *arguments], input=None if content is None else json.dumps(content), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def eventually(holds: Callable[[], Any], limit_s: float, otherwise: Callable[[], str]) -> Any:
    """The first result that is true."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(POLL_S)
    pytest.fail(otherwise())


def run(pod: Object) -> None:
    """Run a pod to its end; one that fails shows its logs."""
    place = ("-n", pod["metadata"]["namespace"])
    name = pod["metadata"]["name"]
    kubectl(*place, "delete", "pod", name, "--ignore-not-found")
    kubectl("apply", "-f", "-", content=pod)

    def ended() -> bool:
        phase = kubectl(*place, "get", "pod", name, "-o", "jsonpath={.status.phase}")
        assert phase != "Failed", explained()
        return phase == "Succeeded"

    def explained() -> str:
        log = subprocess.run(["kubectl", *place, "logs", name, "--all-containers"], capture_output=True, text=True, check=False)
        return kubectl(*place, "describe", "pod", name) + log.stdout[-4000:]

    eventually(ended, POD_S, explained)
