"""`python -m serving`: answer requests from a bundle, as `lodestar serve` and KServe do."""

import argparse
import logging
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar.errors import EnvironmentFault, LodestarError

if TYPE_CHECKING:
    from serving.app import App

HOST, PORT, MODEL, ARM = "127.0.0.1", 8080, "recommend", "control"
BACKLOG = 1024
# Gateways keep connections longer than servers usually do, and count one that is closed under them as a failed request.
KEEP_ALIVE_S, DRAIN_S, MOST_WAITING = 620, 30, 1024


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code says what kind of trouble there was (0 ok, 2 usage, 3 data, 5 environment)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    try:
        _serve(options)
    except LodestarError as error:
        sys.stderr.write(f"lodestar serve: {error}\n")
        return error.exit_code
    return 0


def _serve(options: argparse.Namespace) -> None:
    import uvicorn

    from serving.protocol import Protocol

    with _listening(options.host, options.port) as listener:
        app = application(options)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            loop="uvloop",
            http=Protocol,
            ws="none",
            lifespan="on",
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_S,
            limit_concurrency=MOST_WAITING,
        )
        host, port = listener.getsockname()[:2]
        bundle = app.predictor.recommender.bundle
        sys.stderr.write(f"lodestar serve: bundle {bundle.digest}, {len(bundle.items):,} items, on http://{host}:{port}/v1/recommend\n")
        # uvicorn drains, and then raises again the signal that told it to stop: by then all is done, and that is no failure.
        for stop in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop, signal.SIG_IGN)
        uvicorn.Server(config).run(sockets=[listener])


def application(options: argparse.Namespace) -> "App":
    """The ASGI application, warmed up and ready to answer."""
    from lodestar import bundle, storage
    from lodestar.engine.recommender import Recommender
    from serving import features, impressions
    from serving.app import App
    from serving.metrics import Metrics
    from serving.predictor import Predictor, pool_for

    loaded = bundle.load(storage.local(options.bundle, Path(tempfile.gettempdir(), "lodestar-bundles")))
    recommender = Recommender(loaded)
    metrics = Metrics(options.model_name, loaded.digest, options.arm)
    predictor = Predictor(
        recommender=recommender,
        features=features.connect(options.features),
        metrics=metrics,
        log=impressions.connect(options.impressions, metrics.dropped.inc) if options.impressions else None,
        arm=options.arm,
        pool=pool_for(recommender),
    )
    return App(predictor, options.model_name)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        remedy = "Stop what listens there, or give another --port."
        raise EnvironmentFault("E503", f"cannot listen on {host}:{port} ({error.strerror})", remedy=remedy) from error


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
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help="default: %(default)s")
    parser.add_argument("--model-name", default=MODEL, metavar="NAME", help="the name in v1 and v2 paths (default: %(default)s)")
    parser.add_argument("--arm", default=ARM, metavar="NAME", help="what the impression log calls this deployment (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
