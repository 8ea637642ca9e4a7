"""A step's pod, from what the compiled pipeline says of its executor: image, command, environment, mounts and labels as compiled."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

Object = dict[str, Any]

NAMESPACE, ACCOUNT = "kubeflow", "pipeline-runner"
LAUNCHER = "launcher"  # a ConfigMap and a Secret of this name
SCRIPT = Path(__file__).with_name("launcher.py")
LOG_END_S = 5.0  # for the end of a log to arrive
# Requests are reservations, and a test cluster has two cores for everything.
MOST_CPU_REQUEST, MOST_MEMORY_REQUEST = "200m", "512Mi"


def surroundings(keys: Object) -> list[Object]:
    """The account and what the launcher needs."""
    place = {"namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, **place}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": LAUNCHER, **place}, "data": {SCRIPT.name: SCRIPT.read_text()}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": LAUNCHER, **place},
            "stringData": {"keys.json": json.dumps(keys)},
        },
    ]


def pod(name: str, executor: Object, platform: Object, executor_input: Object, result: str) -> Object:
    """The pod of one step; `executor` and `platform` are what the two documents of the compiled file say of it."""
    container = executor["container"]
    given = json.dumps(executor_input)
    command = [part.replace("{{$}}", given) for part in (*container.get("command", ()), *container.get("args", ()))]
    mounts = [(f"mount-{place}", entry) for place, entry in enumerate(platform.get("emptyDirMounts", ()))]
    labels = platform.get("podMetadata", {}).get("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"pipelines.kubeflow.org/v2_component": "true", **labels}},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": ACCOUNT,
            "terminationGracePeriodSeconds": 60,
            "containers": [
                {
                    "name": "main",
                    "image": container["image"],
                    "command": ["python3", f"/launcher/{SCRIPT.name}", given, result, "--", *command],
                    "env": _environment(container, platform),
                    "resources": {"requests": {"cpu": MOST_CPU_REQUEST, "memory": MOST_MEMORY_REQUEST}},
                    "securityContext": {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"}},
                    "volumeMounts": [
                        {"name": LAUNCHER, "mountPath": "/launcher", "readOnly": True},
                        {"name": "s3", "mountPath": "/s3"},
                        *({"name": volume, "mountPath": entry["mountPath"]} for volume, entry in mounts),
                    ],
                }
            ],
            "volumes": [
                {"name": LAUNCHER, "projected": {"sources": [{"configMap": {"name": LAUNCHER}}, {"secret": {"name": LAUNCHER}}]}},
                {"name": "s3", "emptyDir": {}},
                *({"name": volume, "emptyDir": {"medium": entry.get("medium", "")}} for volume, entry in mounts),
            ],
        },
    }


@contextmanager
def followed(name: str) -> Iterator[list[str]]:
    """A list that has, once this is over, what a pod printed for as long as it lasted, of a pod that was deleted meanwhile too."""
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "log")
        # A pod that has not started yet is asked again.
        ask = f"until kubectl -n {NAMESPACE} logs -f {name}; do sleep 1; done"
        with file.open("w") as target:
            log_reader = subprocess.Popen(["sh", "-c", ask], stdout=target, stderr=subprocess.DEVNULL, start_new_session=True)
            try:
                yield said
                with suppress(subprocess.TimeoutExpired):
                    log_reader.wait(LOG_END_S)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(log_reader.pid, signal.SIGTERM)
                log_reader.wait()
                said.append(file.read_text())


def _environment(container: Object, platform: Object) -> list[Object]:
    given = [{"name": entry["name"], "value": entry["value"]} for entry in container.get("env", ())]
    for field, source, key in (("secretAsEnv", "secretKeyRef", "secretKey"), ("configMapAsEnv", "configMapKeyRef", "configMapKey")):
        name = "secretName" if field == "secretAsEnv" else "configMapName"
        for entry in platform.get(field, ()):
            given += [
                {
                    "name": one["envVar"],
                    "valueFrom": {source: {"name": entry[name], "key": one[key], "optional": entry.get("optional", False)}},
                }
                for one in entry["keyToEnv"]
            ]
    given += [
        {"name": entry["name"], "valueFrom": {"fieldRef": {"fieldPath": entry["fieldPath"]}}}
        for entry in platform.get("fieldPathAsEnv", ())
    ]
    return given


def task_config(executor: Object, platform: Object) -> Object:
    """What a parameter of type TaskConfig is given: what was set on the task for the job that it starts."""
    resources = executor["container"].get("resources", {})
    accelerator = resources.get("accelerator", {})
    limits = {
        name: value
        for name, value in (
            ("cpu", resources.get("resourceCpuLimit")),
            ("memory", resources.get("resourceMemoryLimit")),
            (accelerator.get("resourceType"), accelerator.get("resourceCount")),
        )
        if name and value
    }
    return {
        "resources": {"limits": limits} if limits else None,
        "tolerations": platform.get("tolerations"),
        "nodeSelector": platform.get("nodeSelector", {}).get("labels"),
    }
