"""The process that collects over HTTP: what it answers for is there, whatever becomes of it."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from lodestar import schema
from lodestar.errors import UsageError
from serving.collector import __main__ as collector
from tests.contract.collector_harness import collecting, rows_in, wait_until
from tests.contract.conftest import ROOT

HEAVY = {
    "torch",
    "feast",
    "pandas",
    "duckdb",
    "pyarrow",
    "kfp",
    "kserve",
    "kubernetes",
    "onnxruntime",
    "numpy",
    "boto3",
    "confluent_kafka",
    "fastapi",
}
SENDERS = 8


def event(name: str) -> dict[str, Any]:
    row = {schema.EVENT_ID: name, schema.USER_ID: "u1", schema.EVENT_TYPE: "view", schema.ITEM_ID: "i1"}
    return {**row, schema.EVENT_TIME: "2024-01-01T12:00:00Z"}


def test_the_process_imports_nothing_that_only_trains(tmp_path: Path) -> None:
    program = f"""
import sys
from serving.http import http_server
http_server.run = lambda *_: None
from serving.collector.__main__ import main
assert main(["--output", {str(tmp_path)!r}, "--port", "0"]) == 0
print(*sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("seconds", ["0.2", "3600"])
def test_a_killed_process_loses_nothing_that_it_answered_for(tmp_path: Path, seconds: str) -> None:
    """Whether some of it is in the landing, or all of it in the spool."""
    acknowledged: list[str] = []

    def send(sender: int, address: str) -> None:
        with httpx.Client(base_url=address) as client:
            for number in range(100_000):
                name = f"e{sender}-{number}"
                try:
                    answer = client.post("/v1/events", json=event(name))
                except httpx.HTTPError:
                    return
                assert answer.status_code == 202
                acknowledged.append(name)

    with collecting("--output", tmp_path, "--port", "0", "--part-seconds", seconds) as process:
        threads = [threading.Thread(target=send, args=(sender, process.address)) for sender in range(SENDERS)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 300 and (seconds == "3600" or len(rows_in(tmp_path, "events")) > 100))
        process.process.kill()
        for thread in threads:
            thread.join()
    assert seconds != "3600" or rows_in(tmp_path, "events") == []
    with collecting("--output", tmp_path, "--port", "0") as next_:
        assert next_.address
        assert next_.stop() == (0, "")
    found = [row[schema.EVENT_ID] for row in rows_in(tmp_path, "events")]
    assert set(acknowledged) <= set(found)
    assert len(found) == len(set(found)) <= len(acknowledged) + SENDERS


def test_parts_show_before_the_process_ends(tmp_path: Path) -> None:
    with collecting("--output", tmp_path, "--port", "0", "--part-seconds", "0.1") as process:
        assert httpx.post(f"{process.address}/v1/events", json=event("e1")).status_code == 202
        wait_until(lambda: len(rows_in(tmp_path, "events")) == 1)
        assert 'lodestar_collect_parts_total{table="events"} 1.0' in httpx.get(f"{process.address}/metrics").text
        assert process.stop() == (0, "")


def test_parts_go_to_an_object_store_and_wait_while_it_is_away(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--output", f"{bucket}/landing", "--port", "0", "--part-seconds", "0.1", "--spool", tmp_path)
    there = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with collecting(*options, before="import serving.spool as spool; spool.CLOSE_S = spool.RETRY_S = 0.1") as away:
        assert httpx.post(f"{away.address}/v1/events", json=event("e1")).status_code == 202
        wait_until(lambda: len(list(tmp_path.glob("events/*.full"))) == 1)
        code, _ = away.stop()
    assert code == 0
    monkeypatch.setenv("AWS_ENDPOINT_URL", there)
    with collecting(*options) as back:
        assert httpx.post(f"{back.address}/v1/events", json=event("e2")).status_code == 202
        assert back.stop() == (0, "")
    parts = list(boto3.resource("s3").Bucket("models").objects.filter(Prefix="landing/events/part-"))
    assert len(parts) == 2
    assert not list(tmp_path.glob("events/*"))


def test_a_key_from_the_environment_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODESTAR_COLLECT_KEY", "s3cret-of-senders")
    with collecting("--output", tmp_path, "--port", "0") as process, httpx.Client(base_url=process.address) as client:
        for key, status in (("", 401), ("Bearer s3cret-of-sender", 401), ("Bearer s3cret-of-senders", 202)):
            assert client.post("/v1/events", json=event("e1"), headers={"authorization": key}).status_code == status
        assert client.get("/v2/health/ready").status_code == 200


def test_a_disk_that_refuses_is_503_and_heals(tmp_path: Path) -> None:
    """The process may write no file beyond 4 KiB, as on a disk that is full; a new part is written all the same."""
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    )
    with collecting("--output", tmp_path, "--port", "0", before=limit) as process, httpx.Client(base_url=process.address) as client:
        small, large = event("small"), {**event("large"), schema.QUERY_TEXT: "x" * 8000}
        assert client.post("/v1/events", json=small).status_code == 202
        refused = client.post("/v1/events", json=large)
        assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "E445", "5")
        assert client.post("/v1/events", json={**small, schema.EVENT_ID: "after"}).status_code == 202
        assert process.stop()[0] == 0
    assert [row[schema.EVENT_ID] for row in rows_in(tmp_path, "events")] == ["small", "after"]


def test_what_cannot_be_collected_is_said_by_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as busy:
        cases: list[tuple[list[Any], int, str]] = [
            (["--output", tmp_path / "file", "--port", "0"], 5, "E517"),
            (["--output", tmp_path, "--port", str(busy.getsockname()[1])], 5, "E503"),
            (["--output", tmp_path, "--port", "65536"], 2, "'65536' is no port"),
            ([], 2, "--output"),
            (["--output", tmp_path, "--port", "0", "--kafka", "127.0.0.1:1"], 2, "E303 --port is without --kafka only"),
            (["--output", tmp_path, "--group", "g"], 2, "E303 --group is with --kafka only"),
            (["--output", tmp_path, "--part-seconds", "0"], 2, "needs a number of seconds above 0"),
        ]
        for options, code, text in cases:
            with collecting(*options) as process:
                ended, said = process.ended()
            assert (ended, text in said, "Traceback" in said) == (code, True, False), said


def test_the_command_line_knows_it() -> None:
    program = "import sys; from cli.main import main; sys.exit(main(['collect', '--help']))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: lodestar collect")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
def test_a_collector_that_others_can_reach_needs_a_key(tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LODESTAR_COLLECT_KEY", raising=False)
    with collecting("--output", tmp_path, "--host", host, "--port", "0") as process:
        code, said = process.ended()
    assert (code, "E581" in said, "LODESTAR_COLLECT_KEY" in said) == (2, True, True)
    monkeypatch.setenv("LODESTAR_COLLECT_KEY", "a long random text")
    with collecting("--output", tmp_path, "--host", host, "--port", "0", "--metrics-port", "0") as process:
        assert process.address.startswith("http://")


def test_a_key_that_is_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LODESTAR_COLLECT_KEY", "fifteen-letters")
    with collecting("--output", tmp_path, "--port", "0") as process:
        code, said = process.ended()
    assert (code, "E582" in said, "fifteen-letters" in said, "Traceback" in said) == (2, True, False, False)


@pytest.mark.parametrize("key", ["fifteen-letters", "sixteen-letters\n", " sixteen-letters", "sixteen-lettérs."])
def test_a_key_that_no_header_holds_is_refused_and_the_remedy_makes_one(key: str) -> None:
    with pytest.raises(UsageError, match=r"E582 .* openssl rand -hex 32$") as refused:
        collector._check_key("127.0.0.1", key)
    command = str(refused.value).rpartition(": ")[2]
    collector._check_key("0.0.0.0", subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout.rstrip("\n"))
