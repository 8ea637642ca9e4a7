"""A rollout killed at any of its requests leaves a route that leads to services that answer, and can be continued or rolled back.

Cases are drawn from all commands, requests, times (before the API server does what is asked, or after) and signals.
"""

import contextlib
import copy
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from serving.rollout.kserve_api import Object
from tests.contract.api_server import NEW, OLD, SERVING, Server
from tests.drills.drills import Figures

RECORD = f"/api/v1/namespaces/{SERVING}/configmaps/recommend-rollout"
ROUTE = f"/apis/gateway.networking.k8s.io/v1/namespaces/{SERVING}/httproutes/recommend-split"
SERVICES = f"/apis/serving.kserve.io/v1beta1/namespaces/{SERVING}/inferenceservices"
STABLE, SECOND = f"{SERVICES}/recommend", f"{SERVICES}/recommend-canary"
EVENTS = {"matches": [{"path": {"value": "/v1/events"}}], "backendRefs": [{"name": "collector", "port": 80}]}
COMMANDS = {"start": ["start", "--bundle", NEW], "promote": ["promote"], "rollback": ["rollback"]}
END_S = 60.0
Hook = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class KillPoint:
    """A command, the number of the request at which it gets the signal, and whether what it asked for is done by then.

    `next_command` is the one that is given after a kill.
    """

    command: str
    next_command: str
    request: int
    is_done: bool
    number: signal.Signals


class Cluster:
    """An API server that others reach by HTTP; `before` and `after` are told the number of each request."""

    def __init__(self) -> None:
        self.server, self.requests = Server(), 0
        self.before: Hook = _nothing
        self.after: Hook = _nothing
        self.server.serve(OLD)
        self.server.objects[ROUTE]["spec"]["rules"].insert(0, copy.deepcopy(EVENTS))

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, bytes]:
        number, self.requests = self.requests, self.requests + 1
        self.before(number)
        fields = tuple(parse_qsl(urlsplit(url).query))
        response = self.server.request(method, url, body=body.decode() or None, fields=fields)
        self.after(number)
        return response.status, response.data

    def objects(self) -> dict[str, Object]:
        """What is there, without versions and the record."""
        found = copy.deepcopy(self.server.objects)
        found.pop(RECORD, None)
        for thing in found.values():
            thing["metadata"].pop("resourceVersion")
            if not thing["metadata"].get("annotations"):
                thing["metadata"].pop("annotations", None)
        return found


def drill(seed: int, cases: int) -> Figures:
    """AssertionError where a rollout that was killed leaves requests without an answer, or cannot be gone on with."""
    rng, found = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        lengths: dict[str, int] = {}
        for _ in range(cases):
            command = rng.choice(list(COMMANDS))
            if command not in lengths:
                lengths[command] = _length(command, Path(folder))
            case = KillPoint(
                command=command,
                next_command=rng.choice([command, "rollback"]),
                request=rng.randrange(lengths[command]),
                is_done=rng.random() < 0.5,
                number=rng.choice([signal.SIGKILL, signal.SIGTERM]),
            )
            found[f"{case.command} {case.number.name}: {_run_case(case, Path(folder))}"] += 1
    return {"ended": dict(sorted(found.items())), "requests": lengths}


def _length(command: str, folder: Path) -> int:
    """How many requests a command makes where nothing happens to it."""
    cluster = Cluster()
    with _listening(cluster) as address:
        if command != "start":
            assert _run("start", folder, address) == 0
        before = cluster.requests
        assert _run(command, folder, address) == 0
        return cluster.requests - before


def _run_case(case: KillPoint, folder: Path) -> str:
    """How a case ended, once all is seen to hold."""
    cluster = Cluster()
    original = cluster.objects()
    with _listening(cluster) as address:
        if case.command != "start":
            assert _run("start", folder, address) == 0
        begun = cluster.objects()
        exit_code = _run(case.command, folder, address, cluster, case)
        _check_route(cluster)
        if exit_code == -signal.SIGKILL:
            _recover(case, cluster, folder, address, original)
            return f"killed, then {case.next_command}"
        if exit_code == 128 + signal.SIGTERM:
            # What was begun is undone, unless nothing was yet, or all was done; a rollback goes on where it was.
            if case.command == "rollback":
                _recover(case, cluster, folder, address, original)
            promoted = copy.deepcopy(original)
            promoted[STABLE]["spec"]["predictor"]["model"]["storageUri"] = NEW
            ends = {"start": [original], "rollback": [original], "promote": [original, begun, promoted]}
            assert cluster.objects() in ends[case.command], case
            return "terminated"
        assert exit_code == 0, (case, exit_code)
        assert cluster.objects() != begun or case.command == "start", case
        return "had ended"


def _recover(case: KillPoint, cluster: Cluster, folder: Path, address: str, original: dict[str, Object]) -> None:
    """AssertionError unless the next command ends with the bundle that it is to end with and the route as it was.

    Exit code 2 where the first command had done all but to end, and nothing is left to promote or to roll back.
    """
    wanted = copy.deepcopy(original)
    code = _run(case.next_command, folder, address)
    assert code in ({0} if case.next_command == "start" else {0, 2}), (case, code)
    if case.next_command == "promote":
        wanted[STABLE]["spec"]["predictor"]["model"]["storageUri"] = NEW
    if case.next_command == "start":
        _check_route(cluster)
        assert cluster.objects()[SECOND]["spec"]["predictor"]["model"]["storageUri"] == NEW
        assert _run("rollback", folder, address) == 0
    left = cluster.objects()
    if code == 2 and case.next_command == "promote":
        left.pop(SECOND, None)  # without traffic, until the next start or rollback
    assert left == wanted, case


def _check_route(cluster: Cluster) -> None:
    """Each backend that gets requests has a bundle, the others' rule is as it was, and the service answers by the old or the new one."""
    objects = cluster.server.objects
    events, own = objects[ROUTE]["spec"]["rules"]
    assert events == EVENTS
    for ref in own["backendRefs"]:
        service = objects.get(f"{SERVICES}/{ref['name'].removesuffix('-predictor')}")
        assert ref.get("weight", 1) == 0 or (service is not None and service["spec"]["predictor"]["model"]["storageUri"] in {OLD, NEW}), ref
    assert sum(ref.get("weight", 1) for ref in own["backendRefs"]) > 0


@contextlib.contextmanager
def _listening(cluster: Cluster) -> Iterator[str]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        status, content = cluster.answer(handler.command, handler.path, body)
        with contextlib.suppress(OSError):  # who asked may be gone
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

    methods: dict[str, Any] = {f"do_{method}": answer for method in ("GET", "POST", "PATCH", "DELETE")}
    handler = type("Handler", (BaseHTTPRequestHandler,), methods | {"log_message": lambda *_: None})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


def _run(command: str, folder: Path, address: str, cluster: Cluster | None = None, case: KillPoint | None = None) -> int:
    """The exit code of `python -m serving.rollout`, negative for the signal that ended it."""
    configuration = folder / "kubeconfig"
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    configuration.write_text(
        json.dumps(
            {"clusters": [{"name": "c", "cluster": {"server": address}}], "users": [{"name": "u", "user": {}}]}
            | {"contexts": [context], "current-context": "c"}
        )
    )
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["kubernetes", "serving.rollout.rollout"])
    process = processes.Process(target=_rollout, args=(COMMANDS[command], str(configuration)))
    if cluster is not None and case is not None:
        first = cluster.requests

        def hit(number: int) -> None:
            if number - first == case.request and process.pid is not None:
                os.kill(process.pid, case.number)

        if case.is_done:
            cluster.after = hit
        else:
            cluster.before = hit
    process.start()
    process.join(END_S)
    if cluster is not None:
        cluster.before = cluster.after = _nothing
    assert process.exitcode is not None, f"{command} still runs"
    return process.exitcode


def _rollout(arguments: list[str], configuration: str) -> None:
    from kubernetes import config

    from serving.rollout import rollout

    config.load_config = lambda: config.load_kube_config(configuration)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
        sys.exit(rollout.main([*arguments[:1], "--service", "recommend", *arguments[1:]]))


def _nothing(_number: int) -> None:
    pass
