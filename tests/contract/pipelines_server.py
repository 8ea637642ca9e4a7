"""A Pipelines API server that takes experiments, runs and recurring runs over HTTP, and refuses parameters as the real one does."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_CHARACTERS = 10_000
TIMESTAMP = "2026-01-02T03:04:05Z"
# As backend/src/apiserver/template/v2_template.go checks them: neither a text for an object nor an object for a text.
TYPES: dict[str, type | tuple[type, ...]] = {"STRING": str, "BOOLEAN": bool, "STRUCT": dict, "LIST": list, "NUMBER_INTEGER": (int, float)}


class PipelinesServer(ThreadingHTTPServer):
    """`submitted` holds the bodies that it accepted: of runs, and of recurring runs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.submitted: list[dict[str, Any]] = []
        self.experiments: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running() -> Iterator[PipelinesServer]:
    server = PipelinesServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: PipelinesServer

    def do_GET(self) -> None:
        kind = self.path.partition("?")[0].removeprefix("/apis/v2beta1/")
        if kind == "experiments":
            self._answer(200, {"experiments": self.server.experiments})
        elif kind.startswith("runs/"):
            self._answer(200, {"run_id": kind.removeprefix("runs/"), "display_name": "a run", "state": "PENDING", "created_at": TIMESTAMP})
        else:
            self._answer(200, {"multi_user": False})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.partition("?")[0].removeprefix("/apis/v2beta1/")
        if kind == "experiments":
            self.server.experiments.append({**body, "experiment_id": f"experiment-{body['display_name']}"})
            self._answer(200, self.server.experiments[-1])
            return
        refused = _refused(body)
        if refused:
            self._answer(400, {"error": refused})
            return
        self.server.submitted.append(body)
        name = "run_id" if kind == "runs" else "recurring_run_id"
        self._answer(200, {name: f"{kind}-{len(self.server.submitted)}", "display_name": body["display_name"], "created_at": TIMESTAMP})

    def _answer(self, status: int, content: object) -> None:
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _refused(body: dict[str, Any]) -> str:
    given = body["runtime_config"].get("parameters", {})
    known = body["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    for name, value in given.items():
        if name not in known:
            return f"parameter {name} not found in pipeline job inputs"
        if not isinstance(value, TYPES[known[name]["parameterType"]]):
            return f"input parameter {name} requires type {known[name]['parameterType']}"
    length = len(json.dumps(given))
    return f"The input parameter length exceed maximum size of {MOST_CHARACTERS}." if length > MOST_CHARACTERS else ""
