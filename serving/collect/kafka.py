"""Events and impressions from Kafka: a batch is judged, is in the landing, and only then counts as read.

A process that is killed in between reads the batch again, so that a row may come twice and none is lost; its event_id, which without
one of its own follows from where the message lies, shows that it is the same. Bad messages go to `quarantine/` parts and stop nothing.
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
from lodestar.data.landed import QUARANTINE, new_part
from lodestar.errors import EnvironmentFault, UsageError
from serving import asks
from serving.collect.intake import TABLES, Intake, name_of, unfit
from serving.collect.judge import Fault
from serving.collect.landing import Landing
from serving.collect.metrics import Metrics

MOST_MESSAGE_BYTES, MOST_BATCH_BYTES = 1 << 20, 32 << 20
LETTERS_BYTES = 8 << 20  # bad messages go out whenever they are so many; one of them may be written six times as long as it came
POLL_S, ANSWER_S = 0.25, 15.0
TRIES, RETRY_S = 6, 1.0  # then the process ends, and the batch is another's
FETCHED = 16  # messages at a time, each of which a broker may let be longer than we take
# What this program relies on; anything else of librdkafka's can be given.
_OWN: dict[str, Any] = {"enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": False}
# The client would push what it measures to brokers that ask for it (KIP-714).
_DEFAULTS: dict[str, Any] = {
    **{"auto.offset.reset": "earliest", "enable.metrics.push": False},
    **{"queued.max.messages.kbytes": 16 << 10, "fetch.max.bytes": 16 << 20},
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to read: `topics` by the table that they hold; a batch ends at `batch_rows` or after `batch_s`, whichever comes first."""

    brokers: str
    topics: Mapping[str, str]
    group: str
    batch_rows: int
    batch_s: float
    more: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {table.name for table in TABLES}
        wrong = next(((topic, table) for topic, table in self.topics.items() if table not in known), None)
        if wrong is not None:
            raise UsageError(f"the topic {wrong[0]} cannot hold {wrong[1]}; there are {', '.join(sorted(known))}")
        if taken := sorted(_OWN.keys() & self.more.keys()):
            raise UsageError(f"{taken[0]} is not to be set: offsets are committed when rows are in the landing")


class Reader:
    """One member of a consumer group, from its topics to a landing."""

    def __init__(self, config: Config, landing: Landing, metrics: Metrics) -> None:
        self._config, self._landing, self._metrics = config, landing, metrics
        self._intakes = {table.name: Intake(table) for table in TABLES}
        told = {"bootstrap.servers": config.brokers, "group.id": config.group, **_DEFAULTS, **config.more, **_OWN}
        try:
            self._client = Consumer(told, logger=logger)
        except (KafkaException, TypeError, ValueError) as error:
            raise UsageError(f"Kafka's client refuses its options ({error})") from error
        self._check_topics()

    def run(self, stopped: threading.Event) -> None:
        """Read until told to stop; what was read by then is kept. EnvironmentFault where it cannot go on."""
        self._client.subscribe(list(self._config.topics))
        try:
            while not stopped.is_set():
                if messages := self._batch(stopped):
                    self._keep(messages)
                    self._commit(messages)
        finally:
            self._client.close()

    def _check_topics(self) -> None:
        try:
            found = self._client.list_topics(timeout=ANSWER_S).topics
        except KafkaException as error:
            message = f"no Kafka answers at {self._config.brokers} ({error.args[0].str()})"
            raise EnvironmentFault("E507", message, remedy="Check --kafka, and that it can be reached from here.") from error
        missing = [topic for topic in self._config.topics if topic not in found or found[topic].error is not None]
        if missing:
            raise EnvironmentFault("E508", f"there is no topic {missing[0]}", remedy="Create it, or give another --topic.")

    def _batch(self, stopped: threading.Event) -> list[Message]:
        messages: list[Message] = []
        size, deadline = 0, 0.0
        while not stopped.is_set() and len(messages) < self._config.batch_rows and size < MOST_BATCH_BYTES:
            left_s = deadline - time.monotonic() if messages else POLL_S
            if left_s <= 0:
                break
            most = min(FETCHED, self._config.batch_rows - len(messages), -(-(MOST_BATCH_BYTES - size) // MOST_MESSAGE_BYTES))
            found = [message for message in self._client.consume(most, min(left_s, POLL_S)) if _is_content(message)]
            if found and not messages:
                deadline = time.monotonic() + self._config.batch_s
            messages += found
            size += sum(map(len, found))
        return messages

    def _keep(self, messages: Sequence[Message]) -> None:
        """Put a batch into the landing, a part for each table, and what is bad in parts of its own; read one at a time."""
        lines: dict[str, list[bytes]] = defaultdict(list)
        letters, size, num_bad = list[bytes](), 0, 0
        for message in messages:
            table = self._config.topics[str(message.topic())]
            taken = judged(self._intakes[table], message.value() or b"", _name(message))
            if not isinstance(taken, Fault):
                lines[table].append(taken)
                continue
            letters.append(_letter(message, taken))
            size, num_bad = size + len(letters[-1]), num_bad + 1
            self._metrics.refused(table, [taken])
            if size >= LETTERS_BYTES:
                self._publish(QUARANTINE, b"".join(letters))
                letters, size = [], 0
        for table, good in lines.items():
            self._publish(table, b"".join(good))
            self._metrics.kept(table, len(good))
        if letters:
            self._publish(QUARANTINE, b"".join(letters))
        if num_bad:
            logger.warning("%d of %d messages are bad and set aside", num_bad, len(messages))

    def _publish(self, table: str, lines: bytes) -> None:
        part = new_part()
        for left in reversed(range(TRIES)):
            try:
                self._landing.publish(table, part, lines)
            except Exception as error:  # boto3 raises many kinds, disks some; without the part nothing is committed
                if not left:
                    message = f"{self._landing.address} takes no parts ({type(error).__name__}: {error})"
                    raise EnvironmentFault("E505", message, remedy="Mend it and start again: nothing is lost.") from error
                logger.warning("a part was not written, and is tried again: %s %s", type(error).__name__, error)
                time.sleep(RETRY_S)
            else:
                self._metrics.published(table)
                return

    def _commit(self, messages: Sequence[Message]) -> None:
        """Say what was read; where another has taken over a partition it is read again, and that does no harm."""
        next_: dict[tuple[str, int], int] = {}
        for message in messages:
            next_[str(message.topic()), int(message.partition() or 0)] = int(message.offset() or 0) + 1
        try:
            self._client.commit(offsets=[TopicPartition(*place, offset) for place, offset in next_.items()], asynchronous=False)
        except KafkaException as error:
            logger.warning("offsets were not committed, and what they count may be read again: %s", error)


def _is_content(message: Message) -> bool:
    """Whether this is a message, and no news of the connection; EnvironmentFault where there is no use in waiting."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}:
        raise EnvironmentFault("E508", f"Kafka gives no messages ({error.str()})", remedy="Check the topic and who may read it.")
    logger.warning("Kafka's client says: %s", error.str())
    return False


def judged(intake: Intake, content: bytes, name: str) -> bytes | Fault:
    """The line that a message becomes, or why it becomes none; one that we fail at is set aside, since those behind it wait for it."""
    if len(content) > MOST_MESSAGE_BYTES:
        return Fault(asks.TOO_LARGE, "", f"a message has at most {MOST_MESSAGE_BYTES:,} bytes")
    try:
        asks.count_containers(content)
        row = orjson.loads(content)
        if fault := unfit(content, row):
            return fault
        taken = intake.take([row], [name])
    except asks.Refused as refused:
        return Fault(refused.code, refused.field, refused.message)
    except orjson.JSONDecodeError as error:
        return _not_json(content, error)
    except Exception as error:  # whatever it is, it is our fault in one message, and not to be met again by every reader after this one
        logger.exception("the collector fails at a message")
        return Fault(asks.INTERNAL, "", f"the collector fails at it ({type(error).__name__})")
    return taken.refused[0][1] if taken.refused else taken.lines


def _not_json(content: bytes, error: orjson.JSONDecodeError) -> Fault:
    try:
        content.decode()
    except UnicodeDecodeError:
        return Fault(asks.NOT_UTF8, "", "the message is not UTF-8")
    return Fault(asks.NOT_JSON, "", f"the message is not JSON: {error}")


def _name(message: Message) -> str:
    """The same for the same message; its time tells it from one of a topic that was deleted and made again."""
    return name_of(orjson.dumps([message.topic(), message.partition(), message.offset(), message.timestamp()[1]]))


def _letter(message: Message, fault: Fault) -> bytes:
    """A bad message, where it lies and what is wrong with it."""
    content = (message.value() or b"")[:MOST_MESSAGE_BYTES].decode(errors="backslashreplace")
    place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
    return orjson.dumps({**fault._asdict(), **place, schema.VALUE: content}, option=orjson.OPT_APPEND_NEWLINE)
