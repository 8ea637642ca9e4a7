"""A whole answer over HTTP: history, sequence model, a hundred candidates with what is counted of each, ranker, ten places.

Ours beside what a team writes with the usual parts: kserve's ModelServer, the same models in torch, and Feast's SDK over Feast's own Redis
store, on the same Redis. Both give the same items in the same order, which is checked first. Requests go in turn over kept connections, the
servers take turns, and medians of rounds are compared by the CPU time of all threads of the server's process. The models are untrained: how
long they take does not depend on what they have learned.

    python benchmarks/rerank_latency.py [--rounds N]     published: --rounds 9
"""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its linear algebra
sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has

import argparse
import asyncio
import json
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.measuring.requirements import require
from benchmarks.measuring.server import HOST, SERVING, Server, free_port, redis, running
from benchmarks.serving import DIM, GENERATION, MODEL, NUM_ITEMS, NUM_USERS, K, Measured, make_bundle
from lodestar import schema
from lodestar.bundle.ranker import Ranker as Bundled
from lodestar.config import ModelConfig, RankerConfig
from lodestar.models.encoders.next_item import NextItemModel
from lodestar.models.ranker.ranker import Ranker
from lodestar.schema import ranker_inputs
from lodestar.training.ranker.ranker_stage import WeightedTaskScore, export_onnx

HISTORY, CANDIDATES, WIDTH = 50, 100, 32
WARM_UP = 100
REQUESTS = {"ours": 200, "kserve, torch and Feast": 30}
OURS, PEER = REQUESTS
STORES = {OURS: "feature_repo.stores.redis_store.PackedRedisOnlineStore", PEER: "redis"}
SHAPE, RANK = ModelConfig(dim=DIM), RankerConfig(candidates=CANDIDATES, dim=WIDTH)


def main() -> None:
    """Print CPU time and latency of lists that a ranker reorders, ours beside the peers'; with arguments, be a peer."""
    if sys.argv[3:]:
        serve_as_usual(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    rounds = parser.parse_args().rounds
    require("kserve", "feast")
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        folder, port = Path(work), stack.enter_context(redis())
        for store in STORES:
            write(store_of(store, port, folder))
        made = make_ranked(folder / "bundle")
        servers = {name: stack.enter_context(started(name, port, folder, made)) for name in REQUESTS}
        check_equal(servers)
        measured = {name: Measured() for name in REQUESTS}
        for name, server in servers.items():
            for number in range(min(WARM_UP, REQUESTS[name])):
                server.ask(request_of(number % NUM_USERS))
        for _ in range(rounds):
            for name, found in measured.items():
                found.round(servers[name], [request_of(number % NUM_USERS) for number in range(REQUESTS[name])])
        report(measured)


def report(measured: dict[str, Measured]) -> None:
    """Print CPU, rate and latency quantiles per request of each server, and CPU as a ratio to ours."""
    print(f"{NUM_ITEMS:,} items, histories of {HISTORY}, {CANDIDATES} candidates with {len(ranker_inputs.NAMES)} numbers each, k {K}")
    for name, found in measured.items():
        cpu_s, rate = median(found.cpu_s), median(found.rates)
        p50, p99 = (1e3 * float(np.quantile(found.elapsed_s, share)) for share in (0.5, 0.99))
        ratio = f"{cpu_s / median(measured[OURS].cpu_s):5.1f} x ours"
        print(f"{name:24s} {1e6 * cpu_s:6.0f} us CPU  {rate:5.0f} req/s  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  {ratio}")


def request_of(user: int) -> bytes:
    """The bytes of one v1 predict request for a user's list."""
    body = json.dumps({"instances": [{"user": f"u{user}", "k": K}]})
    head = f"POST /v1/models/{MODEL}:predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


def check_equal(servers: dict[str, Server]) -> None:
    """The same items in the same order."""
    for user in range(0, NUM_USERS, 7):
        lists = [json.loads(server.ask(request_of(user)))["predictions"][0]["items"] for server in servers.values()]
        ours, theirs = ([place["item_id"] for place in places] for places in lists)
        if ours != theirs or len(ours) != K:
            raise RuntimeError(f"the servers disagree on user {user}: {ours} and {theirs}")


@contextmanager
def started(name: str, port: int, folder: Path, made: Path) -> Iterator[Server]:
    """Context manager: one of the servers in a process of its own, over the Redis server at `port`."""
    own = free_port()
    ours = [*SERVING, "--bundle", str(made), "--online-store", f"redis://{HOST}:{port}", "--port", str(own)]
    with running(ours if name == OURS else [__file__, str(own), str(port), str(folder)], own) as server:
        yield server


def store_of(name: str, port: int, folder: Path) -> Any:
    """The views that serving reads, in one of the two stores; the projects differ, so they lie beside each other."""
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project=schema.FEAST_PROJECT if name == OURS else "usual",
        provider="local",
        registry=str(folder / f"{STORES[name].rpartition('.')[2]}.db"),
        online_store={"type": STORES[name], "connection_string": f"{HOST}:{port}"},
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def write(store: Any) -> None:
    """Define the views and write histories and count features of all users and items into the online store."""
    from feature_repo import entities, views
    from feature_repo.stores.redis_store import PackedRedisOnlineStore

    rng, now = np.random.default_rng(0), datetime.now(UTC)
    users, items = ([f"{kind}{row}" for row in range(count)] for kind, count in (("u", NUM_USERS), ("i", NUM_ITEMS)))
    recent = [[f"i{item}" for item in rng.choice(NUM_ITEMS, HISTORY, replace=False)] for _ in users]
    about = {"types": [["view"] * HISTORY] * NUM_USERS, "gaps": [[60.0] * HISTORY] * NUM_USERS}
    sequence = [one.name for one in schema.VIEWS[schema.USER_SEQUENCE_VIEW].features]
    frames = {
        schema.USER_SEQUENCE_VIEW: pd.DataFrame({schema.USER_ID: users, **dict(zip(sequence, (recent, *about.values()), strict=True))}),
        schema.USER_ACTIVITY_VIEW: counts(rng, schema.USER_ID, users, ranker_inputs.USER_COUNTS),
        schema.ITEM_STATS_VIEW: counts(rng, schema.ITEM_ID, items, ranker_inputs.ITEM_COUNTS),
    }
    store.apply([entities.user, entities.item, views.user_sequence, views.user_activity, views.item_stats])
    online = store._get_provider().online_store
    is_ours = isinstance(online, PackedRedisOnlineStore)
    if is_ours:
        online.generations(store.config).begin(GENERATION)
    for view, frame in frames.items():
        store.write_to_online_store(view, frame.assign(**{schema.FEATURE_TIME: now, schema.KNOWN_TIME: now}))
    if is_ours:
        online.generations(store.config).finish(GENERATION)
    asyncio.run(store.close())


def counts(rng: np.random.Generator, key: str, ids: list[str], names: tuple[str, ...]) -> pd.DataFrame:
    """A frame of random count features in 0–1, one row per id."""
    return pd.DataFrame(rng.random((len(ids), len(names)), dtype=np.float32), columns=list(names)).assign(**{key: ids})


def models() -> tuple[NextItemModel, Ranker, torch.Tensor]:
    """Retrieval, ranker, and the ranker's row of each item as a bundle keeps it; the same for whoever asks."""
    torch.manual_seed(0)
    model, ranker = NextItemModel(NUM_ITEMS, SHAPE).eval(), Ranker(WIDTH, len(ranker_inputs.NAMES), 1, RANK).eval()
    with torch.no_grad():
        rows = ranker.item(torch.randn(NUM_ITEMS, WIDTH)).half().float()
    return model, ranker, rows


def make_ranked(folder: Path) -> Path:
    """The bundle of the serving benchmark, whose model `models` makes too, with the ranker."""
    _, ranker, rows = models()
    vectors = rows.numpy().astype(np.float16)
    made = Bundled(
        graph=export_onnx(WeightedTaskScore(ranker, [1.0]), WIDTH), vectors=vectors, candidates=CANDIDATES, max_length=RANK.max_length
    )
    return make_bundle(folder, made)


def serve_as_usual(own: int, port: int, folder: Path) -> None:
    """The peer: a kserve model whose `predict` asks Feast for the history, torch for candidates, Feast for counts, and torch again."""
    import logging

    from kserve import Model, ModelServer

    torch.set_num_threads(1)
    store = store_of(PEER, port, folder)
    model, ranker, rows = models()
    table = model.items.weight.detach()
    of_user = [f"{schema.USER_ACTIVITY_VIEW}:{name}" for name in ranker_inputs.USER_COUNTS]
    of_user.insert(0, f"{schema.USER_SEQUENCE_VIEW}:{schema.RECENT_ITEMS}")
    of_item = [f"{schema.ITEM_STATS_VIEW}:{name}" for name in ranker_inputs.ITEM_COUNTS]

    @torch.inference_mode()
    def listed(user: str, k: int) -> list[dict[str, Any]]:
        known = store.get_online_features(features=of_user, entity_rows=[{schema.USER_ID: user}]).to_dict()
        history = torch.tensor([[int(item[1:]) for item in known[schema.RECENT_ITEMS][0]]])
        mask = torch.ones_like(history, dtype=torch.bool)
        scores = model.encoder.user_vector(table[history], mask)[0] @ table.T
        scores[history[0]] = -torch.inf
        best, chosen = scores.topk(CANDIDATES)
        entities = [{schema.ITEM_ID: f"i{row}"} for row in chosen.tolist()]
        counted = store.get_online_features(features=of_item, entity_rows=entities).to_dict()
        mine = np.array([[known[name][0] for name in ranker_inputs.USER_COUNTS]], dtype=np.float32)
        theirs = np.array([counted[name] for name in ranker_inputs.ITEM_COUNTS], dtype=np.float32).T
        numbers = torch.from_numpy(ranker_inputs.pair_features(mine, theirs))[None]
        task = ranker.task_logits(rows[history[:, -RANK.max_length :]], mask[:, -RANK.max_length :], rows[chosen][None], numbers)[0, :, 0]
        score, place = (best + task).topk(k)
        found = zip(chosen[place].tolist(), score.tolist(), strict=True)
        return [
            {"position": position, "item_id": f"i{row}", "title": f"Item {row}", "category": "a", "score": score}
            for position, (row, score) in enumerate(found, start=1)
        ]

    class Usual(Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(MODEL)
            self.ready = True

        async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
            predictions = [
                {"request_id": uuid.uuid4().hex, "user": one["user"], "items": listed(one["user"], one["k"])}
                for one in payload["instances"]
            ]
            return {"predictions": predictions}

    server = ModelServer(http_port=own, enable_grpc=False, enable_latency_logging=False)
    logging.getLogger("uvicorn.access").disabled = True
    server.start([Usual()])


if __name__ == "__main__":
    main()
