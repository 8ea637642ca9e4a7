"""`python -m serving`: answer requests from a bundle, as `lodestar serve` and KServe do."""

import argparse
import os
import string
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from lodestar.errors import LodestarError
from lodestar.safe_text import Parser, log_to_stderr
from serving import listen, stopping
from serving.limits import Load

if TYPE_CHECKING:
    from serving.app import App

HOST, PORT, MODEL, ARM = "127.0.0.1", 8080, "recommend", "control"
NAME_CHARACTERS = frozenset(string.ascii_letters + string.digits + "._-")


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code says what kind of trouble there was (0 ok, 2 usage, 3 data, 5 environment)."""
    options = _parser().parse_args(arguments)
    log_to_stderr()
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    stopping.stop_on_signals("lodestar serve")
    try:
        _serve(options)
    except LodestarError as error:
        sys.stderr.write(f"lodestar serve: {error}\n")
        return error.exit_code
    return 0


def _serve(options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        remedy = "Stop what listens there, or give another --host, --port or --metrics-port."
        ports = [options.port] if options.metrics_port is None else [options.port, options.metrics_port]
        sockets = [stack.enter_context(listen.bound(options.host, port, remedy)) for port in ports]
        load = Load(has_operators=len(sockets) > 1)
        app = application(options, load)
        bundle = app.predictor.recommender.bundle
        found = f"bundle {bundle.digest}, {len(bundle.items):,} items"
        listen.run(app, load, listen.Listeners(*sockets), f"lodestar serve: {found}", "/v1/recommend")


def application(options: argparse.Namespace, load: Load) -> "App":
    """The ASGI application, warmed up and ready to answer."""
    from lodestar import bundle, storage
    from lodestar.engine.recommender import Recommender
    from lodestar.private import temporary_folder
    from serving import features, impressions
    from serving.app import App
    from serving.metrics import Metrics
    from serving.predictor import Predictor, short_asks

    # All files of one release, whatever becomes current meanwhile.
    loaded = bundle.load(storage.local(options.bundle, temporary_folder("bundles")).resolve())
    recommender = Recommender(loaded)
    metrics = Metrics(options.model_name, loaded.digest, options.arm)
    load.refused = metrics.refused
    predictor = Predictor(
        recommender=recommender,
        features=features.connect(
            options.features, os.environ.get("REDIS_PASSWORD"), gaps=loaded.info.timed, generation=loaded.info.features
        ),
        metrics=metrics,
        log=impressions.connect(options.impressions, metrics.dropped.inc) if options.impressions else None,
        proof=impressions.connect(options.proof, metrics.dropped.inc) if options.proof else None,
        arm=options.arm,
        short_asks=short_asks(recommender),
    )
    return App(predictor, options.model_name, load)


def _name(text: str) -> str:
    if not text or not set(text) <= NAME_CHARACTERS:
        raise argparse.ArgumentTypeError("a name has letters, digits, '.', '_' and '-'")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
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
    parser.add_argument(
        "--proof", default="", metavar="TARGET", help="log what each answer was made from, for `lodestar features prove` (default: no log)"
    )
    parser.add_argument("--host", default=HOST, metavar="ADDRESS", help="where to listen (default: %(default)s)")
    parser.add_argument("--port", type=listen.port, default=PORT, metavar="N", help="0 for any that is free (default: %(default)s)")
    parser.add_argument("--metrics-port", type=listen.port, metavar="N", help="/metrics and health there, and no /metrics on --port")
    parser.add_argument("--model-name", type=_name, default=MODEL, metavar="NAME", help="in v1 and v2 paths (default: %(default)s)")
    parser.add_argument("--arm", default=ARM, metavar="NAME", help="what the impression log calls this deployment (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
