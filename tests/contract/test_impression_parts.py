"""Impressions reach the object store in whole parts, and wait for it when it is away."""

import time
from pathlib import Path

import boto3
import pytest

from serving import impressions
from serving.impressions import BucketLog
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


def test_what_is_left_goes_out_when_the_log_closes(address: str, tmp_path: Path, dropped: list[int]) -> None:
    log = BucketLog(address=address, dropped=dropped.append, spool=tmp_path)
    log.append(shown("r1").rows())
    log.close()
    assert len(stored(address)) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_full_part_goes_out_at_once(address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impressions, "PART_BYTES", 1)
    log = BucketLog(address=address, dropped=dropped.append, spool=tmp_path)
    log.append(shown("r1", 1).rows())
    deadline = time.monotonic() + WAIT_S
    while not stored(address) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(stored(address)) == 1
    log.close()


def test_what_a_killed_process_left_is_sent_by_the_next(address: str, tmp_path: Path, dropped: list[int]) -> None:
    (tmp_path / f"host-{time.time_ns()}-abc.open").write_bytes(shown("r1").rows())
    BucketLog(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert len(stored(address)) == 3


def test_a_store_that_is_away_is_waited_for(
    address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as away:
        away.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        away.setenv("AWS_MAX_ATTEMPTS", "1")
        log = BucketLog(address=address, dropped=dropped.append, spool=tmp_path)
        log.append(shown("r1").rows())
        log.close()
    assert "1 parts wait" in caplog.text
    assert len(list(tmp_path.iterdir())) == 1
    assert dropped == []
    BucketLog(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert len(stored(address)) == 3


def test_a_spool_that_is_full_gives_up_its_oldest_part_and_counts_it(
    address: str, tmp_path: Path, dropped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shown("r1").rows()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(impressions, "SPOOL_BYTES", 2 * len(rows))
    for age in (3, 2, 1):
        (tmp_path / f"host-{time.time_ns() - age * 10**9}-abc.jsonl").write_bytes(rows)
    oldest = min(tmp_path.iterdir())
    BucketLog(address=address, dropped=dropped.append, spool=tmp_path).close()
    assert dropped == [1]
    assert len(list(tmp_path.iterdir())) == 2
    assert not oldest.exists()
