"""`python -m serving`: answer requests from a bundle, as `lodestar serve` and KServe do."""

import argparse
import logging
import os
import signal
import socket
import string
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from lodestar.errors import EnvironmentFault, LodestarError

if TYPE_CHECKING:
    from serving.app import App

HOST, PORT, MODEL, ARM = "127.0.0.1", 8080, "recommend", "control"
BACKLOG = 1024
NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + "._-")
# Gateways keep connections longer than servers usually do, and count one that is closed under them as a failed request.
KEEP_ALIVE_S = 620
# With preStop's 5 s and the impression log's 10 this stays below the 30 s after which Kubernetes kills.
DRAIN_S = 10
MOST_CONNECTIONS = 4096  # beyond, uvicorn answers 503, probes too; how many may wait for an answer is the application's to say


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code says what kind of trouble there was (0 ok, 2 usage, 3 data, 5 environment)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    # uvicorn drains, and then raises again the signal that told it to stop; by then all is done, and that is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        _serve(options)
    except LodestarError as error:
        sys.stderr.write(f"lodestar serve: {error}\n")
        return error.exit_code
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def _serve(options: argparse.Namespace) -> None:
    import uvicorn

    from serving.protocol import Protocol

    with _bound(options.host, options.port) as listener:
        app = application(options)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            loop="uvloop",
            http=Protocol,
            ws="none",
            lifespan="on",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            limit_concurrency=MOST_CONNECTIONS,
        )
        # Only now: to a probe that merely connects, a port that listens is a model that is loaded.
        listener.listen(BACKLOG)
        host, port = listener.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1/recommend"
        bundle = app.predictor.recommender.bundle
        sys.stderr.write(f"lodestar serve: bundle {bundle.digest}, {len(bundle.items):,} items, on {address}\n")
        uvicorn.Server(config).run(sockets=[listener])


def application(options: argparse.Namespace) -> "App":
    """The ASGI application, warmed up and ready to answer."""
    from lodestar import bundle, storage
    from lodestar.engine.recommender import Recommender
    from serving import features, impressions
    from serving.app import App
    from serving.metrics import Metrics
    from serving.predictor import Predictor, short_asks

    loaded = bundle.load(storage.local(options.bundle, Path(tempfile.gettempdir(), "lodestar-bundles")))
    recommender = Recommender(loaded)
    metrics = Metrics(options.model_name, loaded.digest, options.arm)
    predictor = Predictor(
        recommender=recommender,
        features=features.connect(options.features, os.environ.get("REDIS_PASSWORD")),
        metrics=metrics,
        log=impressions.connect(options.impressions, metrics.dropped.inc) if options.impressions else None,
        arm=options.arm,
        short_asks=short_asks(recommender),
    )
    return App(predictor, options.model_name)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the port and does not listen yet."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        remedy = "Stop what listens there, or give another --host or --port."
        raise EnvironmentFault("E503", f"cannot listen on {host}:{port} ({error.strerror})", remedy=remedy) from error
    return bound


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 0xFFFF:
        raise argparse.ArgumentTypeError(f"{port} is no port; there are 0 (any that is free) to {0xFFFF}")
    return port


def _name(text: str) -> str:
    if not text or not set(text) <= NAME_CHARACTERS:
        raise argparse.ArgumentTypeError("a name has letters, digits, '.', '_' and '-'")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lodestar serve",
        description="Answer requests from a bundle: /v1/recommend?user=…&k=…, KServe's v1 and v2, health and metrics.",
    )
    parser.add_argument("--bundle", required=True, metavar="PATH", help="a published bundle: a folder or an s3:// address")
    parser.add_argument(
        "--features",
        default="none",
        metavar="STORE",
        help="Feast's online store: sqlite:PATH, redis://HOST:PORT or none (default: %(default)s)",
    )
    parser.add_argument("--impressions", default="", metavar="TARGET", help="log each answer to a file or to s3:// (default: no log)")
    parser.add_argument("--host", default=HOST, metavar="ADDRESS", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=PORT, metavar="N", help="0 for any that is free (default: %(default)s)")
    parser.add_argument("--model-name", type=_name, default=MODEL, metavar="NAME", help="in v1 and v2 paths (default: %(default)s)")
    parser.add_argument("--arm", default=ARM, metavar="NAME", help="what the impression log calls this deployment (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
