"""The impression log: rows that our own contract takes back, whole however many write at once."""

import csv
import json
import resource
from concurrent.futures import ThreadPoolExecutor
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


def test_half_a_row_is_an_error_and_takes_no_other_row_with_it(tmp_path: Path) -> None:
    rows = [shown(request, 1).rows() for request in ("r1", "r2")]
    log = FileLog(tmp_path / "impressions.jsonl")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(rows[0]) // 2, limits[1]))
        with pytest.raises(OSError, match="bytes were written"):
            log.append(rows[0])
        with pytest.raises(OSError, match="too large"):
            log.append(rows[0])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.append(rows[1])
    log.close()
    half, whole = (tmp_path / "impressions.jsonl").read_bytes().splitlines(keepends=True)
    assert rows[0].startswith(half[:-1])
    assert whole == rows[1]


def test_a_list_of_no_places_has_no_rows() -> None:
    assert shown("r1", 0).rows() == b""


def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="E505"):
        connect(str(tmp_path), lambda _count: None)


def test_the_hash_names_the_history_and_its_order() -> None:
    assert feature_hash(("a", "b")) == feature_hash(("a", "b"))
    assert len({feature_hash(history) for history in ((), ("a",), ("ab",), ("a", "b"), ("b", "a"))}) == 5
