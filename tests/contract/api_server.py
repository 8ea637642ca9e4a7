"""An API server in memory, which notes each request: objects, their versions, rights, and what KServe, a gateway and kubelets would add."""

import json
import re
from typing import Any
from urllib.parse import urlsplit

import urllib3

from serving.rollout import kserve_api
from serving.rollout.api_errors import TOO_MANY_REQUESTS
from serving.rollout.conditions import SOURCE
from serving.rollout.kserve_api import Object
from tests.contract.kustomize import OVERLAYS, merged, objects

SERVING, TRAINING = "lodestar", "lodestar-training"
OLD, NEW = "s3://b/old", f"s3://b/versions/{64 * 'e'}"
PATH = re.compile(r"/apis?/(?P<group>[^/]+/)?v[^/]+/namespaces/(?P<namespace>[^/]+)/(?P<resource>[^/]+)(/(?P<name>[^/]+))?(?P<part>/.*)?")
REVIEWS = re.compile(r"/self\w+reviews$")
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}

Right = tuple[str, str, str, str]


class Server:
    """Objects by address, as an API server keeps them and KServe and a gateway would act on them; notes what is asked of it."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.rights: set[Right] = set()
        self.writes = 0
        self.refused: dict[str, int] = {}
        self.denied: set[Right] = set()
        self.is_ready = self.is_reachable = True
        self.said = ""
        self.refused_once: dict[int, int] = {}
        self.num_requests, self.num_available = 0, 1

    def request(self, method: str, url: str, **given: Any) -> urllib3.HTTPResponse:
        if not self.is_reachable:
            raise urllib3.exceptions.ProtocolError("connection reset")
        parts = urlsplit(url)
        if REVIEWS.search(parts.path):
            return self._review(json.loads(given["body"]).get("spec", {}).get("resourceAttributes", {}))
        found = PATH.fullmatch(parts.path)
        assert found is not None, url
        group, resource = (found["group"] or "").rstrip("/"), found["resource"] + (found["part"] or "")
        verb = VERBS.get(method) or ("get" if found["name"] else "list")
        self.rights.add((found["namespace"], group, resource, verb))
        self.num_requests += 1
        once = self.refused_once.pop(self.num_requests - 1, 0)
        status = (
            (once if once == TOO_MANY_REQUESTS else 0)
            or self.refused.get(resource)
            or self.refused.get(f"{resource}/{verb}")
            or self._status(verb, parts.path, json.loads(given.get("body") or "{}"))
        )
        status = once or status
        answer: Any = {"message": self.said or f"no {resource} for you"}
        if status < 300:
            answer = self._answer(resource, parts.path, dict(given.get("fields") or ()))
        return urllib3.HTTPResponse(json.dumps(answer).encode(), status=status, reason="said so")

    def _review(self, asked: Object) -> urllib3.HTTPResponse:
        right = tuple(asked.get(key, "") for key in ("namespace", "group", "resource", "verb"))
        user = {"username": "system:serviceaccount:kubeflow:pipeline-runner"}
        answer = {"spec": {}, "status": {"userInfo": user, "allowed": right not in self.denied}}
        return urllib3.HTTPResponse(json.dumps(answer).encode(), status=201)

    def _status(self, verb: str, path: str, body: Object) -> int:
        if verb == "list" or path.endswith("/log"):
            return 200
        if verb == "create":
            path = f"{path}/{body['metadata']['name']}"
        if (path in self.objects) == (verb == "create"):
            return 409 if verb == "create" else 404
        if self._is_stale(path, body):
            return 409
        self.writes += 1
        if verb in {"create", "patch"}:
            self.objects[path] = merged(self.objects.get(path, {}), body)
            self.objects[path]["metadata"]["resourceVersion"] = str(self.writes)
        elif verb == "delete":
            del self.objects[path]
        return 200

    def _is_stale(self, path: str, body: Object) -> bool:
        asked = (body.get("preconditions") or body.get("metadata") or {}).get("resourceVersion")
        return asked is not None and asked != self.objects[path]["metadata"]["resourceVersion"]

    def _answer(self, resource: str, path: str, query: dict[str, str]) -> Any:
        if resource == "deployments":
            service = query["labelSelector"].partition("=")[2]
            return {"items": [self._deployment(thing) for address, thing in self.objects.items() if address.endswith(f"/{service}")]}
        if resource == "events":
            names = ("train-1-worker-0", "train-10-worker-0", "other")
            return {"items": [_event(name) for name in names]}
        if resource == "pods":
            assert query["labelSelector"].endswith("-name=train-1")
            return {"items": [_pod(*replica) for replica in REPLICAS]}
        if resource == "pods/log":
            assert "/master-new/" in path
            return "2026-01-01T00:00:00Z a line"
        ready = [{"type": "Ready", "status": str(self.is_ready), "message": "no room"}]
        status = {"conditions": ready, "parents": [{"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": 1}]}]}
        return merged(self.objects.get(path, {}), {"metadata": {"generation": 1}, "status": status})

    def _deployment(self, service: Object) -> Object:
        template = {"metadata": {"annotations": {SOURCE: service["spec"]["predictor"]["model"].get("storageUri")}}}
        status = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": self.num_available}
        return {"metadata": {"generation": 1}, "spec": {"replicas": 1, "selector": {}, "template": template}, "status": status}

    def serve(self, bundle: str) -> None:
        """Put the service and its route there, as the manifests have them."""
        for file, plural in (("50-service", "serving.kserve.io/v1beta1"), ("60-route", "gateway.networking.k8s.io/v1")):
            (thing,) = objects(OVERLAYS.parent / f"{file}.yaml")
            kind = kserve_api.PLURALS[thing["kind"]]
            self.objects[f"/apis/{plural}/namespaces/{SERVING}/{kind}/{thing['metadata']['name']}"] = thing
            thing["metadata"]["resourceVersion"] = "0"
            if thing["kind"] == kserve_api.SERVICE:
                thing["spec"]["predictor"]["model"]["storageUri"] = bundle


# Name, labels and time of each; a master that was restarted writes into another pod.
REPLICAS = [
    ("worker-0", {"training.kubeflow.org/replica-type": "worker", "batch.kubernetes.io/job-completion-index": "1"}, "2026-01-03T00:00:00Z"),
    (
        "master-old",
        {"training.kubeflow.org/replica-type": "master", "batch.kubernetes.io/job-completion-index": "0"},
        "2026-01-01T00:00:00Z",
    ),
    (
        "master-new",
        {"training.kubeflow.org/replica-type": "master", "batch.kubernetes.io/job-completion-index": "0"},
        "2026-01-02T00:00:00Z",
    ),
]


def _pod(name: str, labels: dict[str, str], created: str) -> Object:
    """One whose containers, of a PyTorchJob and of a TrainJob, were stopped once and run again."""
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": created, "message": "worker 1: at the end"}
    status = {"ready": True, "restartCount": 1, "image": "i", "imageID": "i", "state": {}, "lastState": {"terminated": ended}}
    containers = [{"name": container, "resources": {"limits": {"memory": "2Gi"}}} for container in ("pytorch", "node")]
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": created},
        "spec": {"containers": containers},
        "status": {"containerStatuses": [status | {"name": container["name"]} for container in containers]},
    }


def _event(pod: str) -> Object:
    about = {"involvedObject": {"name": pod}, "reason": "FailedScheduling", "message": "no room"}
    return about | {"metadata": {"name": pod, "namespace": TRAINING}}
