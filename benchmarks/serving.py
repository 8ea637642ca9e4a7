"""Answering over HTTP: CPU time of the server per request, ours as a share of kserve's own ModelServer.

The peer gets everything that is not the server: the same bundle, engine and feature client over the same SQLite store, and no log of
requests. Requests go in turn over kept connections, servers take turns, and medians of rounds are compared. A new user costs hardly any
engine, so these rows tell the protocols apart; the others are whole answers. CPU is that of all threads of the server's process.

    python benchmarks/serving.py [--rounds N] [--starts N]     published: --rounds 15 --starts 3
"""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its linear algebra
sys.path.insert(0, os.path.dirname(sys.path[0]))  # or this file is found in place of the package whose name it has

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring.requirements import require
from benchmarks.measuring.server import HOST, SERVING, Server, free_port, running
from lodestar import schema
from lodestar.bundle import bundle
from lodestar.bundle.catalogue import Catalogue
from lodestar.bundle.item_table import quantise
from lodestar.bundle.ranker import Ranker
from lodestar.config import ModelConfig
from lodestar.engine.recommender import Recommendation, Recommender
from lodestar.schema import store_keys as places
from lodestar.schema.packed import Layout
from serving.features import feature_client

MODEL, K = "recommend", 10
GENERATION = "0" * 16  # that the bundle names, and the stores hold
NUM_USERS, NUM_ITEMS, HISTORY, DIM = 200, 2_000, 20, 64
REQUESTS, WARM_UP = 200, 300
OURS, PEER = "ours", "kserve"
V1, V2, OWN, V1_NEW, V2_NEW = "v1 predict", "v2 infer", "/v1/recommend", "v1, new user", "v2, new user"


@dataclass
class Measured:
    """All rounds of one server and one kind of request."""

    cpu_s: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    elapsed_s: list[float] = field(default_factory=list)

    def round(self, server: Server, requests: Sequence[bytes]) -> None:
        """Requests in turn."""
        elapsed_s, cpu_s = [], server.cpu_s()
        for request in requests:
            start = time.perf_counter()
            server.ask(request)
            elapsed_s.append(time.perf_counter() - start)
        self.cpu_s.append((server.cpu_s() - cpu_s) / len(requests))
        self.rates.append(len(requests) / sum(elapsed_s))
        self.elapsed_s += elapsed_s


def main() -> None:
    """Print CPU, rate and latency per request of both servers for every protocol; with arguments, be the peer."""
    if sys.argv[3:] and not sys.argv[1].startswith("-"):
        serve_as_kserve(*sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=1, help="of each server, of which the median counts (default: %(default)s)")
    options = parser.parse_args()
    require("kserve")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        made, store = make_bundle(Path(folder, "bundle")), make_store(Path(folder, "online.db"))
        report_starts(made, store, options.starts)
        # Ours last: it closes a connection on which nothing comes for some seconds, and the peer takes longer to start.
        servers = {name: stack.enter_context(started(name, made, store)) for name in (PEER, OURS)}
        check_equal(servers)
        measured = {(kind, name): Measured() for kind in (V1, V2, V1_NEW, V2_NEW) for name in servers} | {(OWN, OURS): Measured()}
        for kind, name in measured:
            for number in range(WARM_UP):
                servers[name].ask(request_of(kind, number % NUM_USERS))
        for _ in range(options.rounds):
            for (kind, name), found in measured.items():
                found.round(servers[name], [request_of(kind, number % NUM_USERS) for number in range(REQUESTS)])
        report(measured, options.rounds)


def request_of(kind: str, user: int) -> bytes:
    """The bytes of one request for a user's list, in the protocol of this kind; users of the kinds for new ones are unknown."""
    name = f"{'n' if kind in (V1_NEW, V2_NEW) else 'u'}{user}"
    if kind == OWN:
        return f"GET /v1/recommend?user={name}&k={K} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    inputs = [{"name": "user", "datatype": "BYTES", "shape": [1], "data": [name]}]
    path, content = (
        (f"/v1/models/{MODEL}:predict", {"instances": [{"user": name, "k": K}]})
        if kind in (V1, V1_NEW)
        else (f"/v2/models/{MODEL}/infer", {"inputs": inputs, "parameters": {"k": K}})
    )
    body = json.dumps(content)
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def report(measured: dict[tuple[str, str], Measured], rounds: int) -> None:
    """Print CPU, rate and latency quantiles of each kind and server, and ours as a ratio to the peer."""
    print(f"{NUM_ITEMS:,} items, histories of {HISTORY}, k {K}, {rounds} rounds of {REQUESTS} requests")
    for (kind, name), found in measured.items():
        cpu_s, rate = statistics.median(found.cpu_s), statistics.median(found.rates)
        p50, p99 = (1e3 * float(np.quantile(found.elapsed_s, share)) for share in (0.5, 0.99))
        peer = measured.get((kind, PEER))
        ratio = f"{statistics.median(peer.cpu_s) / cpu_s:5.1f} x less CPU than {PEER}" if peer and name == OURS else ""
        print(f"{kind:14s} {name:7s} {1e6 * cpu_s:6.0f} us CPU  {rate:6.0f} req/s  p50 {p50:5.2f} ms  p99 {p99:5.2f} ms  {ratio}")


def report_starts(made: Path, store: Path, count: int) -> None:
    """From the start of the process to its first right answer."""
    found: dict[str, list[tuple[float, float]]] = {OURS: [], PEER: []}
    for _ in range(count):
        for name, starts in found.items():
            with started(name, made, store) as server:
                server.ask(request_of(V1, 0))
                starts.append((server.cpu_s(), server.rss_mb()))
    medians = {name: [statistics.median(column) for column in zip(*starts, strict=True)] for name, starts in found.items()}
    for name, (cpu_s, rss_mb) in medians.items():
        print(f"start to first answer  {name:7s} {cpu_s:5.2f} s CPU  {rss_mb:4.0f} MB RSS")
    cpu, rss = (medians[PEER][place] / medians[OURS][place] for place in (0, 1))
    print(f"start to first answer  {cpu:.1f} x less CPU, {rss:.1f} x less memory than {PEER}")


def check_equal(servers: dict[str, Server]) -> None:
    """Equal answers first: the same items in the same order, with the same scores, in both protocols."""
    for user in range(0, NUM_USERS, 7):
        lists = [json.loads(server.ask(request_of(V1, user)))["predictions"][0]["items"] for server in servers.values()]
        tensors = [json.loads(server.ask(request_of(V2, user)))["outputs"] for server in servers.values()]
        items = [next(tensor["data"] for tensor in found if tensor["name"] == "item_id") for found in tensors]
        if lists[0] != lists[1] or items[0] != items[1] or len(items[0]) != K:
            raise RuntimeError(f"the servers disagree on user {user}")


@contextmanager
def started(name: str, made: Path, store: Path) -> Iterator[Server]:
    """Context manager: one of the servers in a process of its own."""
    port = free_port()
    ours = [*SERVING, "--bundle", str(made), "--online-store", f"sqlite:{store}", "--port", str(port)]
    with running(ours if name == OURS else [__file__, str(made), str(store), str(port)], port) as server:
        yield server


def serve_as_kserve(made: str, store: str, port: str) -> None:
    """The peer."""
    import logging
    import uuid

    from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

    recommender, client = Recommender(bundle.load(Path(made))), feature_client.connect(f"sqlite:{store}", generation=GENERATION)
    digest = recommender.bundle.digest

    class Peer(Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(MODEL)
            self.ready = True

        async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            if isinstance(payload, InferRequest):
                return tensors(payload.id, await lists(payload.get_input_by_name("user").data, payload.parameters["k"]))
            return {"predictions": [shown(one["user"], (await lists([one["user"]], one["k"]))[0]) for one in payload["instances"]]}

    async def lists(users: list[str], k: int) -> list[list[Recommendation]]:
        return [recommender.recommend(history.items, k) for history in await client.histories(users)]

    def shown(user: str, places: list[Recommendation]) -> dict[str, Any]:
        names = ("position", "item_id", "title", "category", "score")
        items = [{name: getattr(place, name) for name in names} for place in places]
        model = {"name": MODEL, "digest": digest, "arm": "control"}
        return {"request_id": uuid.uuid4().hex, "user": user, "model": model, "retriever": places[0].retriever, "items": items}

    def tensors(request_id: str | None, found: list[list[Recommendation]]) -> Any:
        shape = [len(found), len(found[0])]
        kinds = (("item_id", "BYTES", np.object_), ("title", "BYTES", np.object_), ("score", "FP32", np.float32))
        outputs = [
            InferOutput(name, shape, kind, np.array([[getattr(place, name) for place in places] for places in found], dtype))
            for name, kind, dtype in kinds
        ]
        outputs.append(InferOutput("count", shape[:1], "INT32", np.array([len(places) for places in found], np.int32)))
        outputs.append(InferOutput("request_id", shape[:1], "BYTES", np.array([uuid.uuid4().hex for _ in found], np.object_)))
        return InferResponse(request_id or uuid.uuid4().hex, MODEL, outputs, model_version=digest)

    server = ModelServer(http_port=int(port), enable_grpc=False, enable_latency_logging=False)
    logging.getLogger("uvicorn.access").disabled = True
    server.start([Peer()])


def make_bundle(folder: Path, ranker: Ranker | None = None) -> Path:
    """An untrained model of two layers: how long it takes does not depend on what it has learned."""
    import torch

    from lodestar.models.encoders.next_item import NextItemModel
    from lodestar.training.publish.export import graph_bytes

    torch.manual_seed(0)
    config = ModelConfig(dim=DIM)
    model = NextItemModel(NUM_ITEMS, config).eval()
    catalogue = Catalogue(
        ids=[f"i{row}" for row in range(NUM_ITEMS)],
        titles=[f"Item {row}" for row in range(NUM_ITEMS)],
        categories=["a"] * NUM_ITEMS,
        is_active=np.ones(NUM_ITEMS, dtype=np.bool_),
    )
    info = bundle.BundleInfo(
        family="sasrec",
        recipe="benchmark",
        dim=DIM,
        max_length=config.max_length,
        num_items=NUM_ITEMS,
        precision="fp32",
        encoder_precision="fp32",
        features=GENERATION,
        metrics={},
        files={},
    )
    rows, encoder = model.export_parts()
    table = quantise(rows.numpy(), "fp32")
    folder.mkdir()
    popularity = np.arange(NUM_ITEMS, 0, -1, dtype=np.float32)
    bundle.write(folder, info, graph_bytes(encoder, DIM), table, catalogue, popularity, None, ranker)
    return folder


def make_store(file: Path) -> Path:
    """A store as ours, with a history for each user."""
    view = schema.VIEWS[schema.USER_SEQUENCE_VIEW]
    layout = Layout(names=tuple(one.name for one in view.features), kinds=tuple(one.kind for one in view.features))
    rng, table = np.random.default_rng(0), places.rows_table(schema.FEAST_PROJECT, view.name)
    database = sqlite3.connect(file)
    for name in (table, places.rows_table(schema.FEAST_PROJECT, schema.USER_FILTER_VIEW)):  # no user has filtered items
        database.execute(f'CREATE TABLE "{name}" (entity BLOB PRIMARY KEY, row BLOB, event_us INTEGER, known_us INTEGER)')
    database.execute(f'CREATE TABLE "{places.layouts_table(schema.FEAST_PROJECT)}" (signature BLOB PRIMARY KEY, layout TEXT)')
    database.execute(f'INSERT INTO "{places.layouts_table(schema.FEAST_PROJECT)}" VALUES (?, ?)', (layout.signature, layout.to_json()))
    database.execute(f'CREATE TABLE "{places.generation_table(schema.FEAST_PROJECT)}" (generation TEXT)')
    database.execute(f'INSERT INTO "{places.generation_table(schema.FEAST_PROJECT)}" VALUES (?)', (GENERATION,))
    for user in range(NUM_USERS):
        items = [f"i{item}" for item in rng.choice(NUM_ITEMS, HISTORY, replace=False)]
        row = layout.pack([items, ["view"] * HISTORY, [0.0] * HISTORY, []], 0, 0)
        database.execute(f'INSERT INTO "{table}" VALUES (?, ?, 0, 0)', (f"u{user}".encode(), row))
    database.commit()
    database.close()
    return file


if __name__ == "__main__":
    main()
