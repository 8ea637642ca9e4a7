"""`python -m serving.collector`: collect events and impressions over HTTP or from Kafka, as `lodestar collect` does.

Both write whole parts, `LANDING/events/part-….jsonl.gz`, with the contract's columns and `ingested_at`.
"""

import argparse
import hashlib
import ipaddress
import os
import signal
import sys
import threading
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io import storage
from lodestar.io.exits import run_command
from lodestar.io.private_folders import temporary_folder
from lodestar.process.command_line import Parser, add_option
from lodestar.process.environment_variables import COLLECT_KEY, KAFKA_PASSWORD
from lodestar.process.option_values import count, given, local_path, origin, seconds
from lodestar.process.safe_text import log_to_stderr, write_stderr
from serving.http import graceful_shutdown, http_server
from serving.http.connection_limits import Load

if TYPE_CHECKING:
    from serving.collector.metrics import Metrics

PROGRAM = "lodestar collect"
PORT, GROUP, BATCH_ROWS, PART_S = 8090, "lodestar", 10_000, 30.0
HASH_DIGITS = 16
MIN_KEY_CHARACTERS = 16
WITH_HTTP, WITH_KAFKA = ("port", "spool", "allow_origin"), ("topic", "group", "max_rows", "kafka_option")


def main(arguments: list[str] | None = None) -> int:
    """Collect until a signal; the exit code is 0 (ok), 2 (usage) or 5 (environment)."""
    settings = parser().parse_args(arguments)
    log_to_stderr()
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    return run_command(PROGRAM, partial(_collect, settings))


def _collect(settings: argparse.Namespace) -> int:
    _check_options(settings)
    if settings.kafka:
        _consume(settings)
    else:
        _serve(settings)
    return 0


def _check_options(options: argparse.Namespace) -> None:
    """UsageError E303 for an option of the other source of rows."""
    defaults = parser()
    for name in WITH_HTTP if options.kafka else WITH_KAFKA:
        if getattr(options, name) != defaults.get_default(name):
            condition = "without --kafka only" if options.kafka else "with --kafka only"
            raise UsageError(f"--{name.replace('_', '-')} is {condition}; leave it out", code="E303")


def _serve(options: argparse.Namespace) -> None:
    from serving.collector.app import App
    from serving.collector.journal import Journal
    from serving.collector.landing import Landing, open_spool
    from serving.collector.metrics import Metrics

    graceful_shutdown.stop_on_signals(PROGRAM)
    host, port = options.host, options.port
    key = os.environ.get(COLLECT_KEY, "")
    _check_key(host, key)
    metrics = Metrics()
    with ExitStack() as stack:
        ports = [port] if options.metrics_port is None else [port, options.metrics_port]
        remedy = "Stop what listens there, or give another --host, --port or --metrics-port."
        sockets = [stack.enter_context(http_server.bind_socket(host, number, remedy)) for number in ports]
        load = Load(metrics.dropped, has_operators=len(sockets) > 1)
        try:
            spool = open_spool(Landing(options.output), _spool_folder(options), options.part_seconds, metrics.published)
        except OSError as error:
            message = f"the spool cannot be written ({error})"
            raise EnvironmentFault("E517", message, remedy="Give another --output or --spool that can be written.") from error
        app = App(Journal(spool), metrics, key, tuple(options.allow_origin), load)
        try:
            http_server.run(app, load, http_server.Listeners(*sockets), f"{PROGRAM}: into {options.output}", f"/v1/{schema.EVENTS.name}")
        finally:
            spool.close()


def _check_key(host: str, key: str) -> None:
    """UsageError E581 if other machines can reach the collector and there is no key, since senders write into training data.

    UsageError E582 if the key is short, or if no header can hold it, on any address.
    """
    if key and (len(key) < MIN_KEY_CHARACTERS or not (key.isascii() and key.isprintable() and key == key.strip())):
        raise UsageError(
            f"{COLLECT_KEY} is not a valid key: it has {len(key)} characters, and needs at least {MIN_KEY_CHARACTERS} of printable ASCII, "
            "without blanks around them. Set it to what this prints: openssl rand -hex 32",
            code="E582",
        )
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback and not key:
        raise UsageError(
            f"{host} can be reached from other machines, and senders need no key. "
            f"Set {COLLECT_KEY} to a long random text that senders send as Authorization: Bearer KEY, or listen on 127.0.0.1.",
            code="E581",
        )


def _spool_folder(options: argparse.Namespace) -> Path:
    """The spool: `.spool` in a local landing; for an object store a private temporary folder of that landing alone."""
    if options.spool:
        return Path(options.spool)
    if not storage.is_remote(options.output):
        return Path(options.output, ".spool")
    return temporary_folder("collect") / hashlib.sha256(options.output.encode()).hexdigest()[:HASH_DIGITS]


def _consume(options: argparse.Namespace) -> None:
    try:
        from serving.collector.kafka import Config, KafkaConsumer
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--kafka needs the package {error.name}: in a checkout of Lodestar, pip install '.[collect]'", code="E322"
        ) from error
    from serving.collector.landing import Landing
    from serving.collector.metrics import Metrics

    client_options = dict(options.kafka_option)
    if "sasl.password" in client_options:
        raise UsageError(f"a password on the command line is visible to every user; set {KAFKA_PASSWORD} in the environment", code="E321")
    if KAFKA_PASSWORD in os.environ:
        client_options["sasl.password"] = os.environ[KAFKA_PASSWORD]
    config = Config(
        brokers=options.kafka,
        topics=dict(options.topic or [(schema.EVENTS.name, schema.EVENTS.name)]),
        group=options.group,
        batch_rows=options.max_rows,
        batch_s=options.part_seconds,
        client_options=client_options,
    )
    metrics, stopped = Metrics(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    consumer = KafkaConsumer(config, Landing(options.output), metrics)
    if options.metrics_port is not None:
        _serve_metrics(metrics, options.host, options.metrics_port)
    write_stderr(f"{PROGRAM}: into {options.output}, from {', '.join(config.topics)} at {options.kafka}\n")
    consumer.run(stopped)


def _serve_metrics(metrics: "Metrics", host: str, port: int) -> None:
    from prometheus_client import start_http_server

    try:
        start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise EnvironmentFault(
            "E503", f"cannot listen on {host}:{port} ({error.strerror})", remedy="Give another --host or --metrics-port."
        ) from error


def _topic(text: str) -> tuple[str, str]:
    topic, _, table = text.partition("=")
    return topic, table or schema.EVENTS.name


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("write NAME=VALUE, such as security.protocol=SSL")
    return name, value


def parser() -> Parser:
    """The parser of `lodestar collect`."""
    parser = Parser(
        prog=PROGRAM,
        description="Collect events and impressions over HTTP (POST /v1/events and /v1/impressions) or from Kafka, into parts "
        "that `lodestar data ingest` reads.",
        epilog=f"Environment: {COLLECT_KEY} is the senders' key, {KAFKA_PASSWORD} is Kafka's sasl.password.",
        examples=["lodestar collect --output landing/", "lodestar collect --output s3://bucket/landing --kafka broker:9092 --topic clicks"],
    )
    add_option(parser, "--output", type=given, required=True, help="landing, where parts are written: a folder or an s3:// address")
    parser.add_argument("--part-seconds", type=seconds, default=PART_S, metavar="S", help="seconds until a part is published")
    add_option(parser, "--host")
    add_option(parser, "--metrics-port")
    http = parser.add_argument_group("without --kafka")
    add_option(http, "--port", default=PORT)
    meaning = (
        "folder of rows not yet in the landing, on a disk that survives restarts (default: .spool in a local landing, else a private one)"
    )
    http.add_argument("--spool", type=local_path, metavar="PATH", help=meaning)
    http.add_argument(
        "--allow-origin",
        type=origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="CORS origin that may send, * for any (repeatable)",
    )
    _add_kafka_options(parser)
    return parser


def _add_kafka_options(parser: Parser) -> None:
    kafka = parser.add_argument_group("from Kafka")
    kafka.add_argument(
        "--kafka", type=given, metavar="BROKERS", help="consume from Kafka brokers: HOST:PORT, comma-separated (default: listen on HTTP)"
    )
    meaning = f"topic and its table (repeatable; default: {schema.EVENTS.name})"
    kafka.add_argument("--topic", type=_topic, action="append", metavar="NAME[=TABLE]", help=meaning)
    kafka.add_argument("--group", default=GROUP, metavar="NAME", help="consumer group")
    kafka.add_argument("--max-rows", type=count, default=BATCH_ROWS, metavar="N", help="maximum number of rows per part")
    kafka.add_argument(
        "--kafka-option", type=_option, action="append", default=[], metavar="NAME=VALUE", help="a setting of librdkafka (repeatable)"
    )


if __name__ == "__main__":
    sys.exit(main())
