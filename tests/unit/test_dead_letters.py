"""A message of Kafka's that we fail at is set aside, and those behind it are accepted."""

import threading
import tracemalloc
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Message

from lodestar import schema
from serving.collector.intake import Intake
from serving.collector.kafka import DEAD_LETTER_BYTES, MAX_BATCH_BYTES, MAX_MESSAGE_BYTES, Config, KafkaConsumer, validate_message
from serving.collector.metrics import Metrics
from serving.collector.row_error import Rejection
from serving.collector.validator import EventValidator

ROW = {schema.USER_ID: "u1", schema.ITEM_ID: "i1", schema.EVENT_TYPE: "view", schema.EVENT_TIME: "2024-01-01T12:00:00Z"}


class Failing(EventValidator):
    def row(self, given: Any, latest: datetime, ingested_at: str, nulled: Counter[tuple[str, str]]) -> Any:
        if given.get(schema.ITEM_ID) == "poison":
            raise RecursionError
        return super().row(given, latest, ingested_at, nulled)


class Part(NamedTuple):
    table: str
    lines: bytes


class Messages:
    """What a client of Kafka's would hand on, and a landing that keeps what it is given."""

    address = "nowhere"

    def __init__(self, *contents: bytes) -> None:
        self.waiting, self.most, self.parts = [Message(topic="clicks", value=content) for content in contents], list[int](), list[Part]()

    def consume(self, most: int, _seconds: float) -> list[Message]:
        self.most.append(most)
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        return found

    def publish(self, table: str, _part: str, lines: bytes) -> None:
        self.parts.append(Part(table, lines))


def reader(messages: Messages) -> KafkaConsumer:
    """A reader without a broker."""
    made = KafkaConsumer.__new__(KafkaConsumer)
    made._config = Config(brokers="", topics={"clicks": "events"}, group="", batch_rows=1000, batch_s=0.5)
    made._client, made._landing, made._metrics = messages, messages, Metrics()  # type: ignore[assignment]
    made._intakes = {"events": Intake(schema.EVENTS)}
    return made


def test_a_message_that_we_fail_at_is_set_aside_alone() -> None:
    intake = Intake(schema.EVENTS)
    intake._validator = Failing(schema.EVENTS)
    rows = [ROW, {**ROW, schema.ITEM_ID: "poison"}, {**ROW, schema.USER_ID: " "}, {**ROW, schema.ITEM_ID: "i2"}]
    results = [validate_message(intake, orjson.dumps(row), name) for row, name in zip(rows, "abcd", strict=True)]
    assert [one.code if isinstance(one, Rejection) else one.count(b"\n") for one in results] == [1, "E500", "E103", 1]


def test_a_message_of_many_pieces_is_not_read() -> None:
    content = b'{"x":[' + b"[]," * 300_000 + b"[]]}"
    tracemalloc.start()
    try:
        fault = validate_message(Intake(schema.EVENTS), content, "a")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(fault, Rejection)
    assert fault.code == "E442"


def test_a_batch_ends_at_its_bytes_and_bad_messages_go_out_in_parts() -> None:
    messages = Messages(*[b"\x01" * MAX_MESSAGE_BYTES] * 40, orjson.dumps(ROW))
    own = reader(messages)
    batch = own._batch(threading.Event())
    assert sum(map(len, batch)) <= MAX_BATCH_BYTES
    own._publish_batch(batch[:4])
    assert [part.table for part in messages.parts] == ["quarantine"] * 2
    assert max(len(part.lines) for part in messages.parts) < 2 * DEAD_LETTER_BYTES
    assert sum(part.lines.count(b"\n") for part in messages.parts) == 4
