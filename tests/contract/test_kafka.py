"""Events come from a real Kafka: none is lost and none is double when the process that reads is killed."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from lodestar import schema
from tests.contract.collector_harness import collecting, rows_in, wait_until
from tests.contract.conftest import _wait
from tests.ports import free_port

VERSION = "4.3.1"
JARS = Path.home() / ".cache" / "lodestar-kafka" / VERSION
POM = Path(__file__).with_name("kafka") / "pom.xml"
JAVA = ("java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{JARS}/*")
CLUSTER = "bG9kZXN0YXItdGVzdHMtMA"
PARTITIONS = 3
# Ends like a machine that loses power: after a part is in the landing, before Kafka is told.
KILLED_BEFORE_COMMIT = """
import os, signal, serving.collector.kafka as kafka
told = []
commit = kafka.KafkaConsumer._commit
def dying(self, messages):
    told.append(messages)
    if len(told) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    commit(self, messages)
kafka.KafkaConsumer._commit = dying
"""


def jars() -> None:
    """Download the broker's jars, once for all runs on this machine; skip where they cannot be had."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if (JARS / f"kafka_2.13-{VERSION}.jar").is_file():
        return
    JARS.parent.mkdir(parents=True, exist_ok=True)
    work = JARS.with_name(f"{VERSION}.coming")
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={work}", "-DincludeScope=runtime"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"Maven does not download Kafka: {done.stdout[-300:]}")
    work.rename(JARS)


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a broker of one node, which is its own controller."""
    jars()
    folder, port, control = tmp_path_factory.mktemp("kafka"), free_port(), free_port()
    settings = folder / "server.properties"
    settings.write_text(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}
controller.listener.names=CONTROLLER
log.dirs={folder / "data"}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
""")
    with (folder / "broker.log").open("wb") as log:
        format_ = [*JAVA, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(settings)]
        subprocess.run(format_, stdout=log, stderr=log, check=True)
        broker = subprocess.Popen([*JAVA, "kafka.Kafka", str(settings)], stdout=log, stderr=log)
        try:
            _wait(port)
            yield f"127.0.0.1:{port}"
        finally:
            broker.kill()
            broker.wait()


def event(number: int, **more: Any) -> dict[str, Any]:
    row = {schema.USER_ID: f"u{number % 50}", schema.EVENT_TYPE: "view", schema.ITEM_ID: f"i{number}"}
    return {**row, schema.EVENT_TIME: "2024-01-01T12:00:00Z", **more}


def filled(brokers: str, topic: str, values: list[bytes | None]) -> str:
    """A new topic that holds the values, spread over its partitions in turn."""
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5})
    for number, value in enumerate(values):
        producer.produce(topic, value, partition=number % PARTITIONS)
    assert producer.flush(30) == 0
    return topic


def committed(brokers: str, group: str, topic: str) -> int:
    """How many messages of a topic the group has told that it read; -1 while no broker is ready to say."""
    watcher = Consumer({"bootstrap.servers": brokers, "group.id": group})
    try:
        found = watcher.committed([TopicPartition(topic, place) for place in range(PARTITIONS)], timeout=30)
    except KafkaException:
        return -1
    finally:
        watcher.close()
    return sum(max(0, place.offset) for place in found)


def test_a_killed_reader_loses_nothing_and_doubles_nothing(brokers: str, tmp_path: Path) -> None:
    rows = [event(number, **({schema.EVENT_ID: f"e{number}"} if number % 2 else {})) for number in range(3000)]
    topic = filled(brokers, "clicks", [json.dumps(row).encode() for row in rows])
    options = ("--output", tmp_path, "--kafka", brokers, "--topic", topic, "--group", "killed", "--max-rows", "200", "--part-seconds", "1")
    # A member that dies is missed after session.timeout.ms; until then nobody else is given its partitions.
    patience = ("--kafka-option", "session.timeout.ms=6000")
    with collecting(*options, *patience, before=f"exec({KILLED_BEFORE_COMMIT!r})") as first:
        assert first.process.wait(60) == -9
    kept = len(rows_in(tmp_path, "events"))
    assert (kept, committed(brokers, "killed", topic)) == (600, 400)
    with collecting(*options, *patience) as second:
        wait_until(lambda: committed(brokers, "killed", topic) == len(rows))
        assert second.stop()[0] == 0
    found = rows_in(tmp_path, "events")
    assert len(found) == len(rows) + 200
    once = {row[schema.EVENT_ID]: row[schema.ITEM_ID] for row in found}
    assert sorted(once.values()) == sorted(row[schema.ITEM_ID] for row in rows)
    assert {name for name, item in once.items() if int(item[1:]) % 2} == {f"e{number}" for number in range(1, 3000, 2)}


def test_bad_messages_are_set_aside_with_where_they_lie(brokers: str, tmp_path: Path) -> None:
    good = json.dumps(event(1)).encode()
    bad = [b"{", b"\xff", None, b"[1]", json.dumps(event(2, event_type="veiw")).encode(), json.dumps(event(3, item_id=None)).encode()]
    bad += [good[:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}" for depth in (300, 1000, 100_000)]
    bad += [good[:-1] + b', "item_id": "i2"}', good[:-1] + b', "value": 1e400}', good[:-1] + b', "value": NaN}']
    topic = filled(brokers, "mixed", [good, *bad])
    with collecting("--output", tmp_path, "--kafka", brokers, "--topic", topic, "--part-seconds", "0.5") as reader:
        wait_until(lambda: committed(brokers, "lodestar", topic) == 1 + len(bad))
        assert reader.stop()[0] == 0
    assert [row[schema.ITEM_ID] for row in rows_in(tmp_path, "events")] == ["i1"]
    letters = sorted(rows_in(tmp_path, "quarantine"), key=lambda letter: letter["partition"] + PARTITIONS * letter["offset"])
    assert [letter["code"] for letter in letters] == [
        *("E440", "E104", "E440", "E109", "E110", "E103"),
        *("E441", "E441", "E442"),
        *("E173", "E440", "E440"),
    ]
    assert [(letter["topic"], letter["partition"], letter["offset"]) for letter in letters] == [
        (topic, number % PARTITIONS, number // PARTITIONS) for number in range(1, 1 + len(bad))
    ]
    assert [letter["value"] for letter in letters[:2]] == ["{", "\\xff"]


def test_two_topics_fill_two_tables(brokers: str, tmp_path: Path) -> None:
    shown = {
        **{schema.REQUEST_ID: "r1", schema.USER_ID: "u1", schema.ITEM_ID: "i1", schema.POSITION: 1, schema.SURFACE: "home"},
        **{
            schema.SHOWN_AT: 1_700_000_000_000,
            schema.MODEL_DIGEST: "d",
            schema.ARM: "control",
            schema.PROPENSITY: 1,
            schema.FEATURE_HASH: "h",
        },
    }
    clicks = filled(brokers, "both-clicks", [json.dumps(event(1)).encode()])
    lists = filled(brokers, "both-lists", [json.dumps(shown).encode()])
    options = ("--kafka", brokers, "--topic", clicks, "--topic", f"{lists}=impressions", "--group", "both", "--part-seconds", "0.5")
    with collecting("--output", tmp_path, *options) as reader:
        wait_until(lambda: committed(brokers, "both", clicks) + committed(brokers, "both", lists) == 2)
        assert reader.stop()[0] == 0
    assert len(rows_in(tmp_path, "events")) == 1
    assert rows_in(tmp_path, "impressions")[0][schema.SHOWN_AT] == "2023-11-14T22:13:20.000000+00:00"


def test_a_landing_that_takes_nothing_ends_the_process_and_nothing_counts_as_read(brokers: str, tmp_path: Path) -> None:
    topic = filled(brokers, "refused", [json.dumps(event(1)).encode()])
    (tmp_path / "file").touch()
    options = ("--kafka", brokers, "--topic", topic, "--group", "refused", "--part-seconds", "0.5")
    with collecting(
        "--output", tmp_path / "file", *options, before="import serving.collector.kafka as kafka; kafka.RETRY_S = 0.01"
    ) as reader:
        code, said = reader.ended()
    assert (code, "E518" in said, "Traceback" in said) == (5, True, False), said
    assert committed(brokers, "refused", topic) == 0


def test_what_cannot_be_read_is_said_by_code(brokers: str, tmp_path: Path) -> None:
    cases = [
        (("--kafka", brokers, "--topic", "nowhere"), 5, "E508"),
        (("--kafka", f"127.0.0.1:{free_port()}"), 5, "E507"),
        (("--kafka", brokers, "--topic", "a=users"), 2, "there are events, impressions"),
        (("--kafka", brokers, "--kafka-option", "no.such=1"), 2, "no.such"),
        (("--kafka", brokers, "--kafka-option", "enable.auto.commit=true"), 2, "enable.auto.commit"),
        (("--kafka", brokers, "--kafka-option", "sasl.password=secret"), 2, "LODESTAR_KAFKA_PASSWORD"),
        (("--kafka", brokers, "--spool", "x"), 2, "E303 --spool is without --kafka only"),
    ]
    for options, code, text in cases:
        with collecting(
            "--output", tmp_path, *options, before="import serving.collector.kafka as kafka; kafka.METADATA_TIMEOUT_S = 2"
        ) as reader:
            ended, said = reader.ended()
        assert (ended, text in said, "Traceback" in said) == (code, True, False), said
