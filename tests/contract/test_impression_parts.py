"""Impressions reach the object store in whole parts, and wait for it when it is away."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest

from lodestar.data.readers.collector_parts import new_part
from lodestar.io import storage
from serving import impressions, spool
from serving.impressions import S3Log
from tests.unit.test_impressions import shown

WAIT_S = 20


@pytest.fixture
def address(bucket: str, request: pytest.FixtureRequest) -> str:
    return f"{bucket}/{request.node.name}"


def stored(address: str) -> list[bytes]:
    """Lines of all parts under an address."""
    name, _, prefix = address.removeprefix("s3://").partition("/")
    parts = boto3.resource("s3").Bucket(name).objects.filter(Prefix=f"{prefix}/date=")
    return [line for part in parts for line in part.get()["Body"].read().splitlines()]


@pytest.fixture
def dropped() -> list[int]:
    return []


def left(folder: Path, suffix: str, rows: bytes = b"") -> Path:
    """A part that a killed process left in its spool."""
    (folder / impressions.STREAM).mkdir(mode=0o700, exist_ok=True)
    part = folder / impressions.STREAM / f"{new_part()}{suffix}"
    part.write_bytes(rows)
    return part


def waiting(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_what_is_left_goes_out_when_the_log_closes(address: str, tmp_path: Path, dropped: list[int]) -> None:
    log = S3Log(address=address, dropped=dropped.append, spool=tmp_path)
    log.append(shown("r1").rows())
    log.close()
    assert len(stored(address)) == 3
    assert waiting(tmp_path) == []


def test_a_full_part_goes_out_at_once(address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impressions, "PART_BYTES", 1)
    log = S3Log(address=address, dropped=dropped.append, spool=tmp_path)
    log.append(shown("r1", 1).rows())
    deadline = time.monotonic() + WAIT_S
    while not stored(address) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(stored(address)) == 1
    log.close()


def test_what_a_killed_process_left_is_sent_by_the_next(address: str, tmp_path: Path, dropped: list[int]) -> None:
    left(tmp_path, spool.OPEN_SUFFIX, shown("r1").rows())
    S3Log(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert len(stored(address)) == 3


def test_a_store_that_is_away_is_waited_for(
    address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        away.setenv("AWS_MAX_ATTEMPTS", "1")
        log = S3Log(address=address, dropped=dropped.append, spool=tmp_path)
        log.append(shown("r1").rows())
        log.close()
    assert "1 wait" in caplog.text
    assert len(waiting(tmp_path)) == 1
    assert dropped == []
    S3Log(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert len(stored(address)) == 3


def test_a_spool_that_is_full_gives_up_its_oldest_part_and_counts_it(
    address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shown("r1").rows()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(impressions, "SPOOL_BYTES", 2 * len(rows))
    oldest, *_ = [left(tmp_path, spool.FULL_SUFFIX, rows) for _ in range(3)]
    S3Log(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert dropped == [1]
    assert len(waiting(tmp_path)) == 2
    assert not oldest.exists()


def test_a_part_that_another_process_writes_is_left_to_it(address: str, tmp_path: Path, dropped: list[int]) -> None:
    first = S3Log(address=address, dropped=dropped.append, spool=tmp_path)
    first.append(shown("r1", 1).rows())
    S3Log(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert stored(address) == []
    first.append(shown("r2", 1).rows())
    first.close()
    assert [json.loads(row)["request_id"] for row in stored(address)] == ["r1", "r2"]


def test_every_row_arrives_once_however_parts_are_cut(
    address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impressions, "PART_BYTES", 20_000)
    monkeypatch.setattr(impressions, "PART_S", 0.01)
    log = S3Log(address=address, dropped=dropped.append, spool=tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: log.append(shown(f"r{number}", 2).rows()), range(300)))
    log.close()
    rows = [json.loads(row) for row in stored(address)]
    assert sorted((row["request_id"], row["position"]) for row in rows) == sorted(
        (f"r{number}", place) for number in range(300) for place in (1, 2)
    )
    assert (dropped, waiting(tmp_path)) == ([], [])


def test_a_store_that_hangs_holds_up_neither_rows_nor_the_end(tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def hang(*_put: Any) -> None:
        answered.wait(WAIT_S)

    rows = shown("r1").rows()
    for name, value in {"PART_BYTES": 1, "SPOOL_BYTES": 3 * len(rows)}.items():
        monkeypatch.setattr(impressions, name, value)
    monkeypatch.setattr(spool, "CLOSE_S", 0.1)
    monkeypatch.setattr(storage, "put", hang)
    log = S3Log(address="s3://models/hangs", dropped=dropped.append, spool=tmp_path)
    started = time.monotonic()
    for _ in range(10):
        log.append(rows)
    log.close()
    assert time.monotonic() - started < WAIT_S / 2
    assert dropped == [1] * 7
    assert [part.read_bytes() for part in waiting(tmp_path)] == [rows] * 3
    answered.set()
    next(thread for thread in threading.enumerate() if thread.name == "spool").join()


def test_what_no_part_holds_is_not_sent(address: str, tmp_path: Path, dropped: list[int]) -> None:
    left(tmp_path, spool.OPEN_SUFFIX)
    S3Log(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert (stored(address), waiting(tmp_path)) == ([], [])
