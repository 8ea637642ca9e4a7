"""Requests to an API server that stays silent, is busy or away end in time, and are repeated where that is safe."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from kubernetes import client, config

from components.kubernetes.training_api import KubernetesJobs
from serving.rollout import api_client
from serving.rollout.api_client import HURRIED, RequestLimits
from serving.rollout.api_errors import Unreachable
from serving.rollout.kserve_api import Kubernetes

QUICK = RequestLimits(connect_s=5.0, read_s=0.05, retries=3, backoff_s=0.001)
JOB = {"kind": "PyTorchJob", "apiVersion": "kubeflow.org/v1", "metadata": {"name": "train-1"}}


class Api:
    """An API server that gives these statuses in turn and then 200; it notes the methods of all requests."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.asked = list(statuses), list[str]()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        self.asked.append(handler.command)
        content = json.dumps({"metadata": {"name": "train-1"}}).encode()
        handler.send_response(self.statuses.pop(0) if self.statuses else 200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have clients speak to the server at a port of this machine."""

    def pointed(port: int) -> None:
        settings = client.Configuration()
        settings.host = f"http://127.0.0.1:{port}"
        monkeypatch.setattr(config, "load_config", lambda: client.Configuration.set_default(settings))

    yield pointed
    client.Configuration.set_default(None)


@contextlib.contextmanager
def listening(api: Api) -> Iterator[int]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        api.answer(handler)

    methods: dict[str, Any] = {f"do_{method}": answer for method in ("GET", "POST", "PATCH", "DELETE")}
    handler = type("Handler", (BaseHTTPRequestHandler,), methods | {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield http.server_port
        finally:
            http.shutdown()
            thread.join()


def test_a_server_that_accepts_and_stays_silent_is_given_up(point: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel accepts for it
        point(silent.getsockname()[1])
        api = api_client.api_client(QUICK)
        with pytest.raises(Unreachable, match="E597"):
            Kubernetes(namespace="n", name="recommend", api=api).live()
        jobs = KubernetesJobs("n", "PyTorchJob", api)
        for ask in (lambda: jobs.read("train-1"), lambda: jobs.create(JOB), lambda: jobs.delete("train-1"), lambda: jobs.pods("train-1")):
            with pytest.raises(Unreachable, match="E597"):
                ask()


def test_every_client_has_limits() -> None:
    for limits in (RequestLimits(), HURRIED):
        assert 0 < limits.connect_s <= 10
        assert 0 < limits.read_s <= 30


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_read_is_repeated_while_the_server_is_busy(point: Any, status: int) -> None:
    api = Api(status, status)
    with listening(api) as port:
        point(port)
        jobs = KubernetesJobs("n", "PyTorchJob", api_client.api_client(QUICK))
        assert jobs.read("train-1")["metadata"]["name"] == "train-1"
    assert api.asked == ["GET"] * 3


@pytest.mark.parametrize(("status", "num_requests"), [(429, 3), (503, 1)])
def test_a_write_is_repeated_only_if_the_server_has_not_begun_it(point: Any, status: int, num_requests: int) -> None:
    api = Api(status, status)
    with listening(api) as port:
        point(port)
        jobs = KubernetesJobs("n", "PyTorchJob", api_client.api_client(QUICK))
        with contextlib.nullcontext() if status == 429 else pytest.raises(Unreachable, match="E597"):
            assert jobs.create(JOB)
    assert api.asked == ["POST"] * num_requests


def test_a_server_that_stays_busy_is_given_up(point: Any) -> None:
    api = Api(*[429] * 10)
    with listening(api) as port:
        point(port)
        with pytest.raises(Unreachable, match="E597"):
            KubernetesJobs("n", "PyTorchJob", api_client.api_client(QUICK)).create(JOB)
    assert api.asked == ["POST"] * (QUICK.retries + 1)
