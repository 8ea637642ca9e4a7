"""`python -m serving.collector`: take events and impressions in over HTTP or from Kafka, as `lodestar collect` does.

Both write whole parts, `LANDING/events/part-….jsonl.gz`, with the contract's columns and when each row became known.
"""

import argparse
import hashlib
import ipaddress
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar import schema, storage
from lodestar.errors import EnvironmentFault, LodestarError, UsageError
from lodestar.private import temporary_folder
from lodestar.safe_text import Parser, log_to_stderr, warn
from serving import listen, stopping
from serving.limits import Load

if TYPE_CHECKING:
    from serving.collect.metrics import Metrics

KEY, PASSWORD = "LODESTAR_COLLECT_KEY", "LODESTAR_KAFKA_PASSWORD"
GROUP, BATCH_ROWS, PART_S = "lodestar", 10_000, 30.0
HASH_DIGITS = 16
LEAST_KEY_CHARACTERS = 16
WITH_HTTP, WITH_KAFKA = ("spool", "allow_origin", "metrics_port"), ("topic", "group", "rows", "kafka_option", "metrics")


def main(arguments: list[str] | None = None) -> int:
    """Collect until told to stop; the exit code says what kind of trouble there was (0 ok, 2 usage, 5 environment)."""
    asked = options(arguments)
    log_to_stderr()
    os.umask(0o077)  # files are readable by their owner only: events and models trained on them are personal data
    try:
        if asked.kafka:
            _read(asked)
        else:
            _serve(asked)
    except LodestarError as error:
        sys.stderr.write(f"lodestar collect: {error}\n")
        return error.exit_code
    return 0


def _serve(options: argparse.Namespace) -> None:
    from serving.collect.app import App
    from serving.collect.journal import Journal
    from serving.collect.landing import Landing
    from serving.collect.metrics import Metrics
    from serving.collect.spool import Spool

    stopping.stop_on_signals("lodestar collect")
    host, port = options.http
    key = os.environ.get(KEY, "")
    _check_key(host, key)
    metrics = Metrics()
    with ExitStack() as stack:
        ports = [port] if options.metrics_port is None else [port, options.metrics_port]
        remedy = "Stop what listens there, or give another --http or --metrics-port."
        sockets = [stack.enter_context(listen.bound(host, one, remedy)) for one in ports]
        load = Load(metrics.dropped, has_operators=len(sockets) > 1)
        try:
            spool = Spool(Landing(options.landing), _spool_folder(options), options.seconds, metrics.published)
        except OSError as error:
            message = f"rows cannot be kept ({error})"
            raise EnvironmentFault("E505", message, remedy="Give another LANDING or --spool that can be written.") from error
        app = App(Journal(spool), metrics, key, tuple(options.allow_origin), load)
        try:
            listen.run(app, load, listen.Listeners(*sockets), f"lodestar collect: into {options.landing}", f"/v1/{schema.EVENTS.name}")
        finally:
            spool.close()


def _check_key(host: str, key: str) -> None:
    """Whoever reaches the collector can write into what a model is trained on: UsageError where others can, and no key is asked for.

    So is a key that is short, or that no header can hold (E582), wherever it is asked for.
    """
    if key and (len(key) < LEAST_KEY_CHARACTERS or not (key.isascii() and key.isprintable() and key == key.strip())):
        raise UsageError(
            f"E582 what {KEY} holds is no key: it has {len(key)} characters, and needs at least {LEAST_KEY_CHARACTERS} of printable ASCII, "
            "without blanks around them. Set it to what this prints: openssl rand -hex 32"
        )
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback and not key:
        raise UsageError(
            f"E581 {host} can be reached from other machines, and senders need no key. "
            f"Set {KEY} to a long random text that senders send as Authorization: Bearer KEY, or listen on 127.0.0.1."
        )


def _spool_folder(options: argparse.Namespace) -> Path:
    """Beside local parts; for an object store a folder that no other landing uses."""
    if options.spool:
        return Path(options.spool)
    if not storage.is_remote(options.landing):
        return Path(options.landing, ".spool")
    return temporary_folder("collect") / hashlib.sha256(options.landing.encode()).hexdigest()[:HASH_DIGITS]


def _read(options: argparse.Namespace) -> None:
    try:
        from serving.collect.kafka import Config, Reader
    except ModuleNotFoundError as error:
        raise UsageError(f"--kafka needs the package {error.name}: in a checkout of Lodestar, pip install '.[collect]'") from error
    from serving.collect.landing import Landing
    from serving.collect.metrics import Metrics

    more = dict(options.kafka_option)
    if "sasl.password" in more:
        raise UsageError(f"a password on the command line is seen by all; put it into the environment as {PASSWORD}")
    if PASSWORD in os.environ:
        more["sasl.password"] = os.environ[PASSWORD]
    config = Config(
        brokers=options.kafka,
        topics=dict(options.topic or [(schema.EVENTS.name, schema.EVENTS.name)]),
        group=options.group,
        batch_rows=options.rows,
        batch_s=options.seconds,
        more=more,
    )
    metrics, stopped = Metrics(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopped.set())
    reader = Reader(config, Landing(options.landing), metrics)
    if options.metrics:
        _show_metrics(metrics, *options.metrics)
    warn(f"lodestar collect: into {options.landing}, from {', '.join(config.topics)} at {options.kafka}\n")
    reader.run(stopped)


def _show_metrics(metrics: "Metrics", host: str, port: int) -> None:
    from prometheus_client import start_http_server

    try:
        start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise EnvironmentFault("E503", f"cannot listen on {host}:{port} ({error.strerror})", remedy="Give another --metrics.") from error


def options(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for; an option that only the other source has is a mistake, and said to be one."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    for name in WITH_HTTP if asked.kafka else WITH_KAFKA:
        if getattr(asked, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} says nothing with {'--kafka' if asked.kafka else '--http'}")
    return asked


def _host_and_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise argparse.ArgumentTypeError("write HOST:PORT, such as 127.0.0.1:8090")
    return host.strip("[]"), listen.port(port)


def _topic(text: str) -> tuple[str, str]:
    topic, _, table = text.partition("=")
    return topic, table or schema.EVENTS.name


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("write NAME=VALUE, such as security.protocol=SSL")
    return name, value


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _whole(text: str) -> int:
    return int(_positive(text))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="lodestar collect",
        description="Take events and impressions in over HTTP or from Kafka, into parts that `lodestar data ingest` reads.",
        epilog=f"{KEY} holds the key that senders must know, {PASSWORD} what sasl.password is.",
    )
    parser.add_argument("landing", metavar="LANDING", help="where parts go: a folder or an s3:// address")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--http", type=_host_and_port, metavar="HOST:PORT", help="answer POST /v1/events and /v1/impressions; port 0 is any"
    )
    source.add_argument("--kafka", metavar="BROKERS", help="read from Kafka: HOST:PORT, more than one with commas")
    parser.add_argument("--seconds", type=_positive, default=PART_S, metavar="S", help="how long a part may grow (default: %(default)s)")
    parser.add_argument("--spool", metavar="DIR", help="with --http: where rows wait for the landing, on a disk that outlives the process")
    parser.add_argument(
        "--metrics-port", type=listen.port, metavar="N", help="with --http: /metrics and health there, and no /metrics beside rows"
    )
    parser.add_argument("--allow-origin", action="append", default=[], metavar="ORIGIN", help="with --http: sites that may send, * for any")
    parser.add_argument("--topic", type=_topic, action="append", metavar="NAME[=TABLE]", help="with --kafka: repeatable (default: events)")
    parser.add_argument("--group", default=GROUP, metavar="NAME", help="with --kafka: the consumer group (default: %(default)s)")
    parser.add_argument(
        "--rows", type=_whole, default=BATCH_ROWS, metavar="N", help="with --kafka: most rows of a part (default: %(default)s)"
    )
    parser.add_argument("--kafka-option", type=_option, action="append", default=[], metavar="NAME=VALUE", help="one of librdkafka's own")
    parser.add_argument("--metrics", type=_host_and_port, metavar="HOST:PORT", help="with --kafka: where Prometheus scrapes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
