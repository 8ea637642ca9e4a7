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
from serving.collect.intake import TABLES, Intake, Taken, name_of, unfit
from serving.collect.judge import Fault
from serving.collect.landing import Landing
from serving.collect.metrics import Metrics

MOST_MESSAGE_BYTES, MOST_BATCH_BYTES = 1 << 20, 64 << 20
POLL_S, ANSWER_S = 0.25, 15.0
TRIES, RETRY_S = 6, 1.0  # then the process ends, and the batch is another's
FETCHED = 500
# What this program relies on; anything else of librdkafka's can be given.
_OWN: dict[str, Any] = {"enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": False}
# The client would push what it measures to brokers that ask for it (KIP-714).
_DEFAULTS: dict[str, Any] = {"auto.offset.reset": "earliest", "enable.metrics.push": False}

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
            found = [message for message in self._client.consume(self._most(messages), min(left_s, POLL_S)) if _is_content(message)]
            if found and not messages:
                deadline = time.monotonic() + self._config.batch_s
            messages += found
            size += sum(map(len, found))
        return messages

    def _most(self, messages: Sequence[Message]) -> int:
        return min(FETCHED, self._config.batch_rows - len(messages))

    def _keep(self, messages: Sequence[Message]) -> None:
        """Put a batch into the landing, a part for each table, and one of what is bad."""
        by_table: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            by_table[self._config.topics[str(message.topic())]].append(message)
        bad: list[bytes] = []
        for table, own in by_table.items():
            rows, unreadable = _decoded(own)
            good = [message for place, message in enumerate(own) if place not in unreadable]
            taken = _taken(self._intakes[table], rows, [_name(message) for message in good])
            refused = [
                *((own[place], fault) for place, fault in unreadable.items()),
                *((good[place], fault) for place, fault in taken.refused),
            ]
            bad += [_letter(message, fault) for message, fault in refused]
            if taken.lines:
                self._publish(table, taken.lines)
            self._metrics.kept(table, taken.num_rows)
            self._metrics.refused(table, (fault for _, fault in refused))
        if bad:
            logger.warning("%d of %d messages are bad and set aside", len(bad), len(messages))
            self._publish(QUARANTINE, b"".join(bad))

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


def _decoded(messages: Sequence[Message]) -> tuple[list[Any], dict[int, Fault]]:
    """What the messages hold, and why those that are not in it hold nothing."""
    rows: list[Any] = []
    bad: dict[int, Fault] = {}
    for place, message in enumerate(messages):
        content = message.value() or b""
        try:
            if len(content) > MOST_MESSAGE_BYTES:
                bad[place] = Fault(asks.TOO_LARGE, "", f"a message has at most {MOST_MESSAGE_BYTES:,} bytes")
                continue
            row = orjson.loads(content)
            if fault := unfit(content, row):
                bad[place] = fault
            else:
                rows.append(row)
        except orjson.JSONDecodeError as error:
            bad[place] = _not_json(content, error)
    return rows, bad


def _taken(intake: Intake, rows: Sequence[Any], names: Sequence[str]) -> Taken:
    """What becomes of rows; one that we fail at is set aside, since the messages behind it wait, and would wait for ever."""
    try:
        return intake.take(rows, names)
    except Exception:  # whatever it is, it is our fault in one message, and not to be met again by every reader after this one
        logger.exception("messages are taken one by one, since one of them fails")
    lines, refused = list[bytes](), list[tuple[int, Fault]]()
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        try:
            taken = intake.take([row], [name])
        except Exception as error:
            refused.append((place, Fault(asks.INTERNAL, "", f"the collector fails at it ({type(error).__name__})")))
        else:
            lines += [taken.lines] if taken.lines else []
            refused += [(place, fault) for _, fault in taken.refused]
    return Taken(b"".join(lines), len(lines), refused, frozenset())


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
