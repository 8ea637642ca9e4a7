"""The spool: parts on their way to a landing, whatever becomes of the process that wrote them."""

import errno
import gzip
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from serving import spool as spools
from serving.collector import landing
from serving.collector.landing import Landing
from serving.spool import Spool, SpoolLimits


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


FULL = r"No space left|bytes were written"
NEVER = SpoolLimits(part_bytes=1 << 20, part_s=3600, max_bytes=1 << 20, is_synced=True)


def fill(disk: Path) -> Path:
    """Fill a disk to its last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


def refused(spool: Spool, lines: bytes, times: int) -> None:
    for _ in range(times):
        with pytest.raises(OSError, match=FULL):
            spool.append({"events": lines})


@pytest.mark.parametrize("before", [b"", b"1\n"])
def test_a_full_disk_refuses_rows_and_leaves_nothing_behind(before: bytes, small_disk: Path) -> None:
    """300 refused rows used 300 inodes of a disk that has 100, and each cost the time of all before."""
    published: list[bytes] = []
    spool = Spool(small_disk / "spool", NEVER, lambda _stream, _part, lines: published.append(lines))
    if before:
        spool.append({"events": before})
    filler = fill(small_disk)
    refused(spool, b"x" * 9000 + b"\n", 300)
    assert len(list((small_disk / "spool").glob("*/*"))) <= 1
    assert not spool.is_full
    filler.unlink()
    spool.append({"events": b"2\n"})
    spool.close()
    assert published == [before + b"2\n"]
    assert list((small_disk / "spool").glob("*/*")) == []


def test_a_full_disk_is_emptied_by_what_is_published(small_disk: Path) -> None:
    """The parts that wait are what fills the disk."""
    arrived, may_publish = threading.Event(), threading.Event()

    def publish(_stream: str, _part: str, _lines: bytes) -> None:
        may_publish.wait(20)
        arrived.set()

    spool = Spool(small_disk / "spool", SpoolLimits(part_bytes=20_000, part_s=3600, max_bytes=1 << 20, is_synced=True), publish)
    with pytest.raises(OSError, match=FULL):
        for _ in range(20):
            spool.append({"events": b"x" * 19_999 + b"\n"})
    refused(spool, b"x" * 19_999 + b"\n", 5)
    may_publish.set()
    assert arrived.wait(20)
    deadline = time.monotonic() + 20
    while spool.waiting_bytes and time.monotonic() < deadline:
        time.sleep(0.01)
    spool.append({"events": b"x" * 19_999 + b"\n"})
    spool.close()
    assert spool.waiting_bytes == 0


def test_what_a_process_left_that_died_before_its_lock_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir(mode=0o700)
    old, new = folder / "part-20260101T000000000000Z-0123456789ab", folder / "part-20260101T000000000000Z-0123456789ac"
    for file in (old, new):
        file.touch()
    os.utime(old, (0, 0))
    Spool(tmp_path, NEVER, lambda *_: None).close()
    assert list(folder.iterdir()) == [new]


def failing(real: Callable[..., Any], path: str, broken: threading.Event, failed: threading.Event) -> Callable[..., Any]:
    """A method of Path that raises for files of a spool while `broken` is set."""

    def call(self: Path, *arguments: Any, **options: Any) -> Any:
        if broken.is_set() and path in str(self):
            failed.set()
            raise OSError(errno.EIO, "Input/output error")
        return real(self, *arguments, **options)

    return call


@pytest.mark.parametrize("method", ["glob", "unlink", "stat", "rename", "read_bytes"])
@pytest.mark.parametrize("does_drop", [True, False])
def test_a_disk_that_fails_for_a_while_does_not_end_the_thread(
    method: str, does_drop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spools, "RETRY_S", 0.01)
    broken, failed, arrived = threading.Event(), threading.Event(), threading.Event()

    def publish(_stream: str, _part: str, _lines: bytes) -> None:
        arrived.set()

    limits = SpoolLimits(part_bytes=2, part_s=0.01, max_bytes=1 << 20, is_synced=False)
    spool = Spool(tmp_path / "spool", limits, publish, (lambda _count: None) if does_drop else None)
    with monkeypatch.context() as patched:
        broken.set()
        patched.setattr(Path, method, failing(getattr(Path, method), str(tmp_path / "spool"), broken, failed))
        with suppress(OSError):  # a disk that fails may refuse rows
            spool.append({"events": b"1\n"})
        assert failed.wait(20)
        time.sleep(0.1)
    spool.append({"events": b"2\n"})
    assert arrived.wait(20)
    spool.close()
    assert (list((tmp_path / "spool").glob("*/*")), spool.waiting_bytes) == ([], 0)


def test_a_part_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "events"
    folder.mkdir(mode=0o700)
    for name in ("part-1", "part-2"):
        (folder / f"{name}.full").write_bytes(b"1\n")
    broken, arrived = threading.Event(), threading.Event()
    broken.set()
    monkeypatch.setattr(Path, "read_bytes", failing(Path.read_bytes, "part-1", broken, threading.Event()))
    published: list[str] = []

    def publish(_stream: str, part: str, _lines: bytes) -> None:
        published.append(part)
        arrived.set()

    spool = Spool(tmp_path, NEVER, publish)
    assert arrived.wait(20)
    broken.clear()
    spool.close()
    assert published[0] == "part-2"
