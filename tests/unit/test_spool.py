"""The spool: parts on their way to a landing, whatever becomes of the process that wrote them."""

import gzip
import threading
from pathlib import Path

import pytest

from serving import spool as spools
from serving.collector import landing
from serving.collector.landing import Landing
from serving.spool import Spool


def spooled(folder: Path, part_s: float = 3600) -> tuple[Spool, threading.Event]:
    arrived = threading.Event()
    return landing.open_spool(Landing(str(folder)), folder / ".spool", part_s, lambda _: arrived.set()), arrived


def landed(folder: Path) -> list[bytes]:
    return [gzip.decompress(part.read_bytes()) for part in sorted((folder / "events").glob("part-*.jsonl.gz"))]


def test_what_a_killed_process_left_is_published_without_its_torn_line(tmp_path: Path) -> None:
    left = tmp_path / ".spool" / "events"
    left.mkdir(parents=True)
    (left / "part-1.open").write_bytes(b"{}\n{}\n{")
    (left / "part-2.full").write_bytes(b"[]\n")
    (left / "part-3.open").write_bytes(b"{")
    spool, arrived = spooled(tmp_path)
    assert arrived.wait(20)
    spool.close()
    assert landed(tmp_path) == [b"{}\n{}\n", b"[]\n"]
    assert list(left.iterdir()) == []


def test_a_part_that_somebody_writes_is_left_alone(tmp_path: Path) -> None:
    first, _ = spooled(tmp_path)
    first.append({"events": b"1\n"})
    spooled(tmp_path)[0].close()
    assert landed(tmp_path) == []
    first.append({"events": b"2\n"})
    first.close()
    assert landed(tmp_path) == [b"1\n2\n"]


def test_a_full_part_goes_out_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "PART_BYTES", 4)
    spool, arrived = spooled(tmp_path)
    spool.append({"events": b"123\n"})
    assert arrived.wait(20)
    assert landed(tmp_path) == [b"123\n"]
    spool.close()


def test_an_old_part_goes_out(tmp_path: Path) -> None:
    spool, arrived = spooled(tmp_path, part_s=0.01)
    spool.append({"events": b"123\n"})
    assert arrived.wait(20)
    assert landed(tmp_path) == [b"123\n"]
    spool.close()


def test_a_landing_that_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(spools, "RETRY_S", 0.01)
    monkeypatch.setattr(landing, "SPOOL_BYTES", 4)
    (tmp_path / "events").touch()
    spool, arrived = spooled(tmp_path, part_s=0.01)
    spool.append({"events": b"123\n"})
    while "parts were not published, 1 wait" not in caplog.text:
        assert not arrived.wait(0.01)
    assert spool.waiting_bytes == 4
    assert spool.is_full
    (tmp_path / "events").unlink()
    assert arrived.wait(20)
    spool.close()
    assert (landed(tmp_path), spool.waiting_bytes, spool.is_full) == ([b"123\n"], 0, False)
