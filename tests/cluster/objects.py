"""What the cluster tests add to the manifests: credentials, a Redis, and a pod that runs the pipeline's first steps."""

import json
from pathlib import Path
from typing import Any

import boto3

Object = dict[str, Any]

SERVING, TRAINING, TEST = "lodestar", "lodestar-training", "lodestar-test"
NAMESPACES = (SERVING, TRAINING, TEST)
SECRETS = {SERVING: "lodestar-predictor", TRAINING: "lodestar-trainer", "kubeflow": "lodestar-pipeline"}
SERVICE = f"{SERVING}/recommend"
S3_INSIDE = "s3.storage:7070"
KEYS = {"AWS_ACCESS_KEY_ID": "lodestar", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_DEFAULT_REGION": "us-east-1"}
REDIS_PORT = 6379
SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def surroundings(redis_image: str) -> Object:
    """A namespace of the test's own with Redis in it, the alias that predictors know it by, and everyone's Secret."""
    alias = _object("v1", "Service", SERVING, "online-store") | {
        "spec": {"type": "ExternalName", "externalName": f"redis.{TEST}.svc.cluster.local"}
    }
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": TEST, "labels": {"pod-security.kubernetes.io/enforce": "restricted", "lodestar/made-by": "cluster-tests"}},
    }
    kubeflow = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}}  # others may live there: it is never removed
    secrets = [_secret(*place) for place in SECRETS.items()]
    return {"apiVersion": "v1", "kind": "List", "items": [namespace, kubeflow, *secrets, *_redis(redis_image), alias]}


def pipeline_settings() -> Object:
    """What the owner says of the online store and of training jobs, which must be small here."""
    settings = _object("v1", "ConfigMap", "kubeflow", "lodestar-settings")
    training = {"workers": 2, "cpu": "200m", "memory": "2Gi"}
    return settings | {"data": {"LODESTAR_REDIS": f"redis.{TEST}:{REDIS_PORT}", "LODESTAR_TRAINING": json.dumps(training)}}


def downloaded(address: str, target: Path) -> Path:
    """An artifact's files, which carry no mark."""
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    for entry in boto3.resource("s3").Bucket(bucket).objects.filter(Prefix=f"{prefix}/"):
        file = target / entry.key.removeprefix(f"{prefix}/")
        file.parent.mkdir(parents=True, exist_ok=True)
        boto3.client("s3").download_file(bucket, entry.key, str(file))
    return target


def rollout_pod(image: str, command: str, *arguments: str) -> Object:
    """`python -m serving.rollout` with the launcher's own rights and no more."""
    container = _container("rollout", image, ["python", "-m", "serving.rollout", command, "--service", SERVICE, *arguments])
    spec = {
        "restartPolicy": "Never",
        "serviceAccountName": "launcher",
        "containers": [container],
        "volumes": [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    pod = _object("v1", "Pod", TRAINING, f"rollout-{command}") | {"spec": spec}
    pod["metadata"]["labels"] = {"app.kubernetes.io/component": "launcher"}
    return pod


def _container(name: str, image: str, command: list[str]) -> Object:
    return {
        "name": name,
        "image": image,
        "command": command,
        "resources": {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": SAFE,
        "volumeMounts": [{"name": "work", "mountPath": "/work"}, {"name": "tmp", "mountPath": "/tmp"}],
    }


def _redis(image: str) -> list[Object]:
    labels = {"app": "redis"}
    container = {
        "name": "redis",
        "image": image,
        "args": ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"],
        "ports": [{"containerPort": REDIS_PORT}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": SAFE,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]}}
    return [
        _object("apps/v1", "Deployment", TEST, "redis") | {"spec": {"selector": {"matchLabels": labels}, "template": pod}},
        _object("v1", "Service", TEST, "redis") | {"spec": {"selector": labels, "ports": [{"port": REDIS_PORT}]}},
    ]


def _secret(namespace: str, name: str) -> Object:
    annotations = {"serving.kserve.io/s3-endpoint": S3_INSIDE, "serving.kserve.io/s3-usehttps": "0"}
    secret = _object("v1", "Secret", namespace, name)
    secret["metadata"]["annotations"] = annotations
    return secret | {"stringData": KEYS | {"AWS_ENDPOINT_URL": f"http://{S3_INSIDE}"}}


def _object(version: str, kind: str, namespace: str, name: str) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}}
