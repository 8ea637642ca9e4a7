"""`python -m serving`: the predictor, which serves recommendations from a bundle, as `lodestar serve` and under KServe."""

import argparse
import logging
import os
import sys
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from lodestar.errors import EnvironmentFault
from lodestar.io.exits import run_command
from lodestar.process.command_line import Parser, add_option
from lodestar.process.option_values import name
from lodestar.process.safe_text import log_to_stderr
from serving.http import graceful_shutdown, http_server
from serving.http.connection_limits import Load

if TYPE_CHECKING:
    from serving.app import App

PROGRAM = "lodestar serve"
PORT, MODEL, ARM = 8080, "recommend", "control"


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; the exit code is 0 (ok), 2 (usage), 3 (data) or 5 (environment)."""
    options = parser().parse_args(arguments)
    log_to_stderr()
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    graceful_shutdown.stop_on_signals(PROGRAM)
    return run_command(PROGRAM, partial(_serve, options))


def _serve(options: argparse.Namespace) -> int:
    _check_logs(options.impressions, options.feature_log)
    with ExitStack() as stack:
        remedy = "Stop what listens there, or give another --host, --port or --metrics-port."
        ports = [options.port] if options.metrics_port is None else [options.port, options.metrics_port]
        sockets = [stack.enter_context(http_server.bind_socket(options.host, port, remedy)) for port in ports]
        load = Load(has_operators=len(sockets) > 1)
        with _loading():
            app = application(options, load)
        bundle = app.predictor.recommender.bundle
        found = f"bundle {bundle.digest}, {len(bundle.items):,} items"
        http_server.run(app, load, http_server.Listeners(*sockets), f"{PROGRAM}: {found}", "/v1/recommend")
    return 0


def _check_logs(impressions: str, feature_log: str) -> None:
    """EnvironmentFault E561 if both logs are one, UsageError E315 for an address without a bucket: said before the bundle is loaded."""
    from lodestar.io import storage

    if impressions and impressions == feature_log:
        message = f"the impressions and the feature log are both to be {impressions}"
        raise EnvironmentFault("E561", message, remedy="Give --impressions and --feature-log a file of its own each.")
    for address in filter(storage.is_remote, (impressions, feature_log)):
        storage.check_address(address)


def _loading() -> AbstractContextManager[None]:
    """On a terminal, a spinner with elapsed time; elsewhere nothing, and nothing is imported for it."""
    if not sys.stderr.isatty():
        return nullcontext()
    from lodestar.progress import activity

    return activity("loading the bundle", is_recorded=False)


def application(options: argparse.Namespace, load: Load) -> "App":
    """Load the bundle, connect the stores and logs, and warm the model up; the ASGI application of the predictor."""
    from lodestar.bundle import bundle
    from lodestar.engine.recommender import Recommender
    from lodestar.io import storage
    from lodestar.io.private_folders import temporary_folder
    from serving import impressions
    from serving.app import App
    from serving.features import feature_client
    from serving.metrics import Metrics
    from serving.predictor import Predictor, measure_inline_queries

    # Resolved once, so that all files are of one release even if another becomes current.
    loaded = bundle.load(storage.ensure_local(options.bundle, temporary_folder("bundles")).resolve())
    if (forced := loaded.root / bundle.FORCED).is_file():
        logging.getLogger(__name__).warning("bundle %s was released by force, as the quality gate refused it: %s", loaded.digest, forced)
    recommender = Recommender(loaded)
    metrics = Metrics(options.model_name, loaded.digest, options.arm)
    load.refused = metrics.refused
    predictor = Predictor(
        recommender=recommender,
        feature_client=feature_client.connect(
            options.online_store,
            os.environ.get("REDIS_PASSWORD"),
            use_time_gaps=loaded.info.use_time_gaps,
            reads_filters=loaded.info.reads_filters,
            generation=loaded.info.features,
        ),
        metrics=metrics,
        impression_log=impressions.connect(options.impressions, metrics.dropped.inc) if options.impressions else None,
        feature_log=impressions.connect(options.feature_log, metrics.dropped.inc) if options.feature_log else None,
        arm=options.arm,
        max_inline_queries=measure_inline_queries(recommender),
    )
    return App(predictor, options.model_name, load)


def parser() -> Parser:
    """The parser of `lodestar serve`."""
    parser = Parser(
        prog=PROGRAM,
        description="Serve recommendations from a bundle: /v1/recommend?user=…&k=…, KServe's v1 and v2 protocols, health and metrics.",
        examples=[
            "lodestar serve --bundle lodestar-run/current/bundle --online-store sqlite:lodestar-run/current/online/online.db",
            "lodestar serve --bundle s3://bucket/bundles --online-store redis://redis:6379 --port 8080 --metrics-port 9090",
        ],
    )
    add_option(parser, "--bundle", required=True)
    parser.add_argument(
        "--online-store", default="none", metavar="STORE", help="Feast's online store: sqlite:PATH, redis://HOST:PORT or none"
    )
    parser.add_argument("--impressions", default="", metavar="PATH", help="impression log: a file or an s3:// address (default: no log)")
    meaning = "log the features of each response here, for `lodestar features skew-test`: a file or an s3:// address (default: no log)"
    add_option(parser, "--feature-log", default="", help=meaning)
    add_option(parser, "--host")
    add_option(parser, "--port", default=PORT)
    add_option(parser, "--metrics-port")
    parser.add_argument("--model-name", type=name, default=MODEL, metavar="NAME", help="model name in v1 and v2 paths")
    parser.add_argument("--arm", type=name, default=ARM, metavar="NAME", help="canary arm in the impression log")
    return parser


if __name__ == "__main__":
    sys.exit(main())
