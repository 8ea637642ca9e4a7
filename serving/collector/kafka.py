"""Kafka consumer of events and impressions: a batch is validated and published to the landing before its offsets are committed.

Delivery is at least once: after a kill the batch is read again. Duplicates have the same event_id; an event without one is identified by
topic, partition, offset and time of its message. Invalid messages are dead letters in `quarantine/` parts and stop nothing.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from lodestar import schema
from lodestar.data.readers.collector_parts import QUARANTINE, new_part
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io.s3.s3_objects import ATTEMPTS, CONNECT_S, READ_S
from serving import requests
from serving.collector.intake import TABLES, Intake, content_id, unfit
from serving.collector.landing import Landing
from serving.collector.metrics import Metrics
from serving.collector.row_error import Rejection

MAX_MESSAGE_BYTES, MAX_BATCH_BYTES = 1 << 20, 32 << 20
DEAD_LETTER_BYTES = 8 << 20  # a quarantine part is published at this size; escaping may make a message six times as long
POLL_S, METADATA_TIMEOUT_S = 0.25, 15.0
TRIES, RETRY_S = 6, 1.0  # after the last try the process ends, and another consumer reads the batch
MAX_POLLED = 16  # messages per poll, since a broker may allow longer ones than MAX_MESSAGE_BYTES
# Required settings of librdkafka; all others can be set by the user.
_REQUIRED: dict[str, Any] = {"enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": False}
# By default the client pushes its metrics to brokers that request them (KIP-714).
_DEFAULTS: dict[str, Any] = {
    **{"auto.offset.reset": "earliest", "enable.metrics.push": False},
    **{"queued.max.messages.kbytes": 16 << 10, "fetch.max.bytes": 16 << 20},
    # Longer than all tries of a part at a store that does not answer, or others would read the batch too while it is retried.
    "max.poll.interval.ms": 1000 * TRIES * ATTEMPTS * (CONNECT_S + READ_S),
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Consumer settings: `topics` maps a topic to its table; a batch ends at `batch_rows` or after `batch_s` seconds, whichever is first.

    UsageError for a table that is neither events nor impressions, or a client option that the consumer sets itself.
    """

    brokers: str
    topics: Mapping[str, str]
    group: str
    batch_rows: int
    batch_s: float
    client_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {table.name for table in TABLES}
        wrong = next(((topic, table) for topic, table in self.topics.items() if table not in known), None)
        if wrong is not None:
            raise UsageError(f"the topic {wrong[0]} cannot hold {wrong[1]}; there are {', '.join(sorted(known))}", code="E320")
        if reserved := sorted(_REQUIRED.keys() & self.client_options.keys()):
            raise UsageError(f"{reserved[0]} is not to be set: offsets are committed when rows are in the landing", code="E320")


class KafkaConsumer:
    """One member of a consumer group, which publishes its topics' messages to a landing.

    UsageError if the client refuses its options, EnvironmentFault E507 if no broker answers, E508 if a topic does not exist.
    """

    def __init__(self, config: Config, landing: Landing, metrics: Metrics) -> None:
        self._config, self._landing, self._metrics = config, landing, metrics
        self._intakes = {table.name: Intake(table) for table in TABLES}
        settings = {"bootstrap.servers": config.brokers, "group.id": config.group, **_DEFAULTS, **config.client_options, **_REQUIRED}
        try:
            self._client = Consumer(settings, logger=logger)
        except (KafkaException, TypeError, ValueError) as error:
            raise UsageError(f"Kafka's client refuses its options ({error})", code="E320") from error
        self._check_topics()

    def run(self, stopped: threading.Event) -> None:
        """Consume until `stopped` is set; the current batch is still published. EnvironmentFault E518: the landing fails, E519: Kafka."""
        self._client.subscribe(list(self._config.topics))
        try:
            while not stopped.is_set():
                if messages := self._batch(stopped):
                    self._publish_batch(messages)
                    self._commit(messages)
        finally:
            self._client.close()

    def _check_topics(self) -> None:
        try:
            found = self._client.list_topics(timeout=METADATA_TIMEOUT_S).topics
        except KafkaException as error:
            message = f"no Kafka answers at {self._config.brokers} ({error.args[0].str()})"
            raise EnvironmentFault("E507", message, remedy="Check --kafka, and that it can be reached from here.") from error
        missing = [topic for topic in self._config.topics if topic not in found or found[topic].error is not None]
        if missing:
            raise EnvironmentFault("E508", f"there is no topic {missing[0]}", remedy="Create it, or give another --topic.")

    def _batch(self, stopped: threading.Event) -> list[Message]:
        messages: list[Message] = []
        size, deadline = 0, 0.0
        while not stopped.is_set() and len(messages) < self._config.batch_rows and size < MAX_BATCH_BYTES:
            left_s = deadline - time.monotonic() if messages else POLL_S
            if left_s <= 0:
                break
            most = min(MAX_POLLED, self._config.batch_rows - len(messages), -(-(MAX_BATCH_BYTES - size) // MAX_MESSAGE_BYTES))
            found = [message for message in self._client.consume(most, min(left_s, POLL_S)) if _is_content(message)]
            if found and not messages:
                deadline = time.monotonic() + self._config.batch_s
            messages += found
            size += sum(map(len, found))
        return messages

    def _publish_batch(self, messages: Sequence[Message]) -> None:
        """Publish a batch to the landing: one part for each table, and dead letters in quarantine parts."""
        lines: dict[str, list[bytes]] = defaultdict(list)
        dead_letters, size, num_invalid = list[bytes](), 0, 0
        for message in messages:
            table = self._config.topics[str(message.topic())]
            result = validate_message(self._intakes[table], message.value() or b"", _event_id(message))
            if not isinstance(result, Rejection):
                lines[table].append(result)
                continue
            dead_letters.append(_dead_letter(message, result))
            size, num_invalid = size + len(dead_letters[-1]), num_invalid + 1
            self._metrics.refused(table, [result])
            if size >= DEAD_LETTER_BYTES:
                self._publish(QUARANTINE, b"".join(dead_letters))
                dead_letters, size = [], 0
        for table, valid in lines.items():
            self._publish(table, b"".join(valid))
            self._metrics.kept(table, len(valid))
        if dead_letters:
            self._publish(QUARANTINE, b"".join(dead_letters))
        if num_invalid:
            logger.warning("%d of %d messages are invalid and quarantined", num_invalid, len(messages))

    def _publish(self, table: str, lines: bytes) -> None:
        part = new_part()
        for tries_left in reversed(range(TRIES)):
            try:
                self._landing.publish(table, part, lines)
            except Exception as error:  # boto3 raises many kinds, disks some; without the part nothing is committed
                if not tries_left:
                    message = f"{self._landing.address} accepts no parts ({type(error).__name__}: {error})"
                    raise EnvironmentFault("E518", message, remedy="Repair it and start again: nothing is lost.") from error
                logger.warning("a part was not written, and is retried: %s %s", type(error).__name__, error)
                time.sleep(RETRY_S)
            else:
                self._metrics.published(table)
                return

    def _commit(self, messages: Sequence[Message]) -> None:
        """Commit the offsets behind a batch; if a rebalance moved a partition, its messages are read again, with the same ids."""
        next_: dict[tuple[str, int], int] = {}
        for message in messages:
            next_[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0) + 1
        try:
            self._client.commit(offsets=[TopicPartition(*partition, offset) for partition, offset in next_.items()], asynchronous=False)
        except KafkaException as error:
            logger.warning("offsets were not committed, and their messages may be read again: %s", error)


def _is_content(message: Message) -> bool:
    """Whether this is a message and not an event of the client; EnvironmentFault E519 if the error is fatal or the topic cannot be read."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}:
        raise EnvironmentFault("E519", f"Kafka gives no messages ({error.str()})", remedy="Check the topic and its read permission.")
    logger.warning("Kafka client: %s", error.str())
    return False


def validate_message(intake: Intake, content: bytes, event_id: str) -> bytes | Rejection:
    """The JSON line of a message, or its rejection; E500 if the collector itself fails on it, so that it blocks nothing."""
    if len(content) > MAX_MESSAGE_BYTES:
        return Rejection(requests.TOO_LARGE, "", f"a message has at most {MAX_MESSAGE_BYTES:,} bytes")
    try:
        requests.count_containers(content)
        row = orjson.loads(content)
        if rejection := unfit(content, row):
            return rejection
        result = intake.take([row], [event_id])
    except requests.InvalidRequest as refused:
        return Rejection(refused.code, refused.field, refused.message)
    except orjson.JSONDecodeError as error:
        return _not_json(content, error)
    except Exception as error:  # a fault of the collector in one message, which every later consumer would meet again
        logger.exception("the collector failed on a message")
        return Rejection(requests.INTERNAL, "", f"the collector failed on it ({type(error).__name__})")
    return result.rejected[0][1] if result.rejected else result.lines


def _not_json(content: bytes, error: orjson.JSONDecodeError) -> Rejection:
    try:
        content.decode()
    except UnicodeDecodeError:
        return Rejection(requests.NOT_UTF8, "", "the message is not UTF-8")
    return Rejection(requests.NOT_JSON, "", f"the message is not JSON: {error}")


def _event_id(message: Message) -> str:
    """A deterministic id of a message; its time tells it from one of a topic that was deleted and created again."""
    return content_id(orjson.dumps([message.topic(), message.partition(), message.offset(), message.timestamp()[1]]))


def _dead_letter(message: Message, rejection: Rejection) -> bytes:
    """A quarantine line: the message, its topic, partition and offset, and its rejection."""
    content = (message.value() or b"")[:MAX_MESSAGE_BYTES].decode(errors="backslashreplace")
    origin = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
    return orjson.dumps({**rejection._asdict(), **origin, schema.VALUE: content}, option=orjson.OPT_APPEND_NEWLINE)
