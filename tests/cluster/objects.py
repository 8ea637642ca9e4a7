"""What the cluster tests add to the manifests: credentials, a Redis, and a pod that runs the pipeline's first steps."""

from typing import Any

Object = dict[str, Any]

SERVING, TRAINING, TEST = "lodestar", "lodestar-training", "lodestar-test"
NAMESPACES = (SERVING, TRAINING, TEST)
SECRETS = {SERVING: "lodestar-predictor", TRAINING: "lodestar-trainer", TEST: "lodestar-pipeline"}
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
    secrets = [_secret(*place) for place in SECRETS.items()]
    return {"apiVersion": "v1", "kind": "List", "items": [namespace, *secrets, *_redis(redis_image), alias]}


def features_pod(image: str, data: str, overrides: str, address: str) -> Object:
    """Ingest, build_features and an upload one after the other, with a folder between them."""
    recipe = ["--recipe", "shop", "--overrides", overrides]
    ingest = [
        "python",
        "-m",
        "components",
        "ingest",
        "--data",
        data,
        "--data_version",
        "1",
        "--tables",
        "/work/tables",
        "--report",
        "/work/r.md",
    ]
    build = ["python", "-m", "components", "build_features", "--tables", "/work/tables", *recipe, "--features", "/work/features"]
    upload = [
        "python",
        "-c",
        f"from pathlib import Path; from lodestar import storage; storage.upload(Path('/work/features'), '{address}')",
    ]
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "initContainers": [_container("ingest", image, ingest), _container("build-features", image, build)],
        "containers": [_container("upload", image, upload)],
        "volumes": [{"name": "work", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
    }
    return _object("v1", "Pod", TEST, "features") | {"spec": spec}


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
        "env": [{"name": "LODESTAR_REDIS", "value": f"redis:{REDIS_PORT}"}],
        "envFrom": [{"secretRef": {"name": SECRETS[TEST], "optional": True}}],
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
