"""The impression log: rows that our own contract takes back, whole however many write at once."""

import csv
import errno
import json
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from lodestar import schema
from lodestar.data.ingest import ingest
from lodestar.data.tables.tables import Tables
from lodestar.engine.recommender import PERSONAL, Recommendation
from lodestar.errors import EnvironmentFault
from serving.impressions import FileLog, ImpressionList, connect, feature_hash


def shown(request: str, count: int = 3) -> ImpressionList:
    places = [
        Recommendation(item_id=f"i{row}", title=f"Item {row}", category="a", score=1.5 - row, position=row + 1, retriever=PERSONAL)
        for row in range(count)
    ]
    return ImpressionList(request_id=request, user="u1", surface="home", model_digest="d1", arm="control", feature_hash="f1", items=places)


def test_the_log_is_a_table_of_the_contract(tmp_path: Path) -> None:
    data = tmp_path / "data"
    log = FileLog(data / "impressions.jsonl")
    log.append(shown("r1").rows())
    log.append(shown("r2", 1).rows())
    log.close()
    with (data / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id", "event_type", "event_time"])
        rows.writerows([f"u{user}", "i1", "view", "2026-01-01T00:00:00Z"] for user in range(5))
    ingest(str(data), tmp_path / "tables")
    table = Tables(root=tmp_path / "tables").impressions().to_pylist()
    assert [(row[schema.REQUEST_ID], row[schema.POSITION], row[schema.ITEM_ID]) for row in table] == [
        ("r1", 1, "i0"),
        ("r1", 2, "i1"),
        ("r1", 3, "i2"),
        ("r2", 1, "i0"),
    ]
    assert {(row[schema.MODEL_DIGEST], row[schema.ARM], row[schema.PROPENSITY], row[schema.FEATURE_HASH]) for row in table} == {
        ("d1", "control", 1.0, "f1")
    }


def test_rows_are_whole_when_many_write_at_once(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "impressions.jsonl")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: log.append(shown(f"r{number}", 20).rows()), range(200)))
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "impressions.jsonl").read_text().splitlines()]
    assert len(rows) == 200 * 20


def test_another_process_goes_on_with_the_file(tmp_path: Path) -> None:
    for request in ("r1", "r2"):
        log = FileLog(tmp_path / "impressions.jsonl")
        log.append(shown(request, 1).rows())
        log.close()
    assert len((tmp_path / "impressions.jsonl").read_text().splitlines()) == 2


@contextmanager
def full_after(num_bytes: int) -> Iterator[None]:
    """No file may have more bytes, as where the disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_half_a_row_is_an_error_and_is_cut_off_again(tmp_path: Path) -> None:
    rows = [shown(request, 1).rows() for request in ("r1", "r2")]
    log = FileLog(tmp_path / "impressions.jsonl")
    with full_after(len(rows[0]) // 2):
        for _ in range(2):
            with pytest.raises(OSError, match="bytes were written"):
                log.append(rows[0])
    log.append(rows[1])
    log.close()
    assert (tmp_path / "impressions.jsonl").read_bytes() == rows[1]


def test_half_a_row_that_cannot_be_cut_off_takes_no_other_row_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [shown(request, 1).rows() for request in ("r1", "r2")]
    log = FileLog(tmp_path / "impressions.jsonl")
    with monkeypatch.context() as patched, full_after(len(rows[0]) // 2):
        patched.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="bytes were written"):
            log.append(rows[0])
        with pytest.raises(OSError, match="too large"):
            log.append(rows[0])
    with full_after(len(rows[0])), pytest.raises(OSError, match="bytes were written"):
        log.append(rows[0])
    log.append(rows[1])
    log.close()
    half, whole = (tmp_path / "impressions.jsonl").read_bytes().splitlines(keepends=True)
    assert rows[0].startswith(half[:-1])
    assert whole == rows[1]


def refuse(_file: int, _size: int) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_log_on_a_full_disk_is_still_a_table(small_disk: Path) -> None:
    rows, log, num_kept = shown("r1", 7).rows(), FileLog(small_disk / "impressions.jsonl"), 0
    with pytest.raises(OSError, match=r"No space left|bytes were written"):
        while True:
            log.append(rows)
            num_kept += 1
    with pytest.raises(OSError, match=r"No space left|bytes were written"):
        log.append(rows)
    log.close()
    assert (small_disk / "impressions.jsonl").read_bytes() == rows * num_kept


@pytest.mark.parametrize(
    ("left", "kept"), [(b'{"a":1}\n{"b', b'{"a":1}\n'), (b'{"a"', b""), (b'{"a":1}\n{"b":2}', b'{"a":1}\n{"b":2}\n'), (b"", b"")]
)
def test_half_a_row_that_a_dead_machine_left_is_cut_off_and_a_whole_one_kept(left: bytes, kept: bytes, tmp_path: Path) -> None:
    file = tmp_path / "impressions.jsonl"
    file.write_bytes(left)
    log = FileLog(file)
    log.append(b"{}\n")
    log.close()
    assert file.read_bytes() == kept + b"{}\n"


def test_a_pipe_may_be_the_log(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    log = FileLog(pipe)
    log.append(b"{}\n")
    log.close()
    assert os.read(reader, 99) == b"{}\n"
    os.close(reader)


def test_a_list_of_no_places_has_no_rows() -> None:
    assert shown("r1", 0).rows() == b""


def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="E505"):
        connect(str(tmp_path), lambda _count: None)


def test_the_hash_names_the_history_and_its_order() -> None:
    assert feature_hash(("a", "b")) == feature_hash(("a", "b"))
    assert len({feature_hash(history) for history in ((), ("a",), ("ab",), ("a", "b"), ("b", "a"))}) == 5
