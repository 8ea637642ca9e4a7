"""A folder of tables that is added to: nothing twice and nothing lost, whatever the repeats."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lodestar import schema
from lodestar.data.contract.checks import IDENTICAL, STORED
from lodestar.data.ingest import append, ingest
from lodestar.data.tables import manifest
from lodestar.data.tables.tables import Tables
from lodestar.errors import DataError, EnvironmentFault, UsageError
from lodestar.io import storage

HEADER = "user_id,item_id,event_type,event_time"


def save(path: Path, *rows: str, header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def views(month: int, *items: str, users: int = 6) -> list[str]:
    return [f"u{user},{item},view,2025-{month:02d}-01T0{user}:00:00Z" for user in range(users) for item in items]


def contents(root: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of the tables, in the order of their keys: how they are spread over parts is nobody's business."""
    found = Tables(root=root)
    with duckdb.connect() as database:
        read = "SELECT * FROM read_parquet({}) ORDER BY {}"
        return {
            name: database.execute(read.format([str(path) for path in found.paths(table)], ", ".join(table.key)))
            .to_arrow_table()
            .to_pylist()
            for name, table in schema.TABLES.items()
        }


def held(root: Path) -> manifest.Manifest:
    found = manifest.read(root)
    assert found is not None
    return found


def test_tables_have_a_digest_until_something_is_added(tmp_path: Path) -> None:
    root, data = tmp_path / "store", save(tmp_path / "a.csv", *views(1, "x", "y"))
    append(str(data), root)
    digest = Tables(root=root).digest()
    append(str(data), root)
    assert Tables(root=shutil.copytree(root, tmp_path / "moved")).digest() == digest
    append(str(save(tmp_path / "b.csv", *views(2, "z"))), root)
    assert Tables(root=root).digest() != digest
    (root / Tables(root=root).names(schema.EVENTS)[0]).unlink()
    with pytest.raises(DataError, match="E151"):
        Tables(root=root).digest()


def test_the_same_file_twice_adds_nothing(tmp_path: Path) -> None:
    data, root = save(tmp_path / "a.csv", *views(1, "x", "y")), tmp_path / "store"
    append(str(data), root)
    before = storage.digest(root)
    again = append(str(shutil.copy(data, tmp_path / "renamed.csv")), root)
    assert again.known_files == 1
    assert "1 files were ingested before" in again.markdown()
    assert storage.digest(root) == before


def test_rows_that_are_there_are_dropped_and_counted(tmp_path: Path) -> None:
    root = tmp_path / "store"
    append(str(save(tmp_path / "a.csv", *views(1, "x"))), root)
    report = append(str(save(tmp_path / "b.csv", *views(1, "x", "y"))), root)
    assert (report.tables["events"].rows_in, report.tables["events"].rows_kept, report.tables["events"].dropped) == (12, 6, {STORED: 6})
    assert report.tables["items"].added == 1
    assert len(contents(root)["events"]) == 12


def test_a_late_file_adds_a_part_to_its_own_month_only(tmp_path: Path) -> None:
    root = tmp_path / "store"
    append(str(save(tmp_path / "a.csv", *views(1, "x"), *views(3, "x"))), root)
    before = {path: path.read_bytes() for path in root.rglob("*.parquet")}
    append(str(save(tmp_path / "b.csv", *views(1, "late"))), root)
    events = [part.path for part in held(root).parts["events"]]
    assert events == ["events/2025-01/part-0000.parquet", "events/2025-03/part-0000.parquet", "events/2025-01/part-0001.parquet"]
    assert all(path.read_bytes() == content for path, content in before.items())
    assert [part.path for part in held(root).parts["items"]] == ["items/part-0001.parquet"]


def test_a_part_that_another_replaced_outlives_one_more_addition(tmp_path: Path) -> None:
    """Who has read the manifest may still open what it names."""
    root, items = tmp_path / "store", set[str]()
    for month in range(1, 5):
        append(str(save(tmp_path / f"{month}.csv", *views(month, f"i{month}"))), root)
        items |= {path.name for path in (root / "items").iterdir()}
    assert items == {f"part-000{number}.parquet" for number in range(4)}
    assert sorted(path.name for path in (root / "items").iterdir()) == ["part-0002.parquet", "part-0003.parquet"]
    assert len(contents(root)["items"]) == 4


def test_alike_within_a_file_are_two_events_and_in_two_files_one(tmp_path: Path) -> None:
    twice = [*views(1, "x"), *views(1, "x")]
    report = ingest(str(save(tmp_path / "one" / "events" / "a.csv", *twice).parents[1]), tmp_path / "out")
    assert (report.tables["events"].rows_kept, report.tables["events"].dropped) == (12, {})
    save(tmp_path / "two" / "events" / "a.csv", *twice)
    save(tmp_path / "two" / "events" / "b.csv", *views(1, "x"))
    report = ingest(str(tmp_path / "two"), tmp_path / "out2")
    assert (report.tables["events"].rows_kept, report.tables["events"].dropped) == (12, {IDENTICAL: 6})


def test_files_take_the_place_of_what_only_events_named_and_the_later_state_of_a_key_stays(tmp_path: Path) -> None:
    root, header = tmp_path / "store", "item_id,title,updated_at,created_at"
    append(str(save(tmp_path / "a.csv", *views(1, "x", "y"))), root)
    for name, rows in {
        "new": ["x,second,2025-03-01T00:00:00Z,2024-01-01T00:00:00Z", "z,only,2025-03-01T00:00:00Z,2024-01-01T00:00:00Z"],
        "old": ["x,first,2025-02-01T00:00:00Z,2024-01-01T00:00:00Z", "w,more,2025-02-01T00:00:00Z,2024-01-01T00:00:00Z"],
    }.items():
        append(str(save(tmp_path / name / "items.csv", *rows, header=header).parent), root)
    assert {item["item_id"]: item["title"] for item in contents(root)["items"]} == {"w": "more", "x": "second", "z": "only"}


def test_items_that_come_after_the_events_are_as_old_as_the_first_of_these(tmp_path: Path) -> None:
    root = tmp_path / "store"
    append(str(save(tmp_path / "a.csv", *views(2, "x"), *views(1, "y"))), root)
    append(str(save(tmp_path / "new" / "items.csv", "x,X", "w,W", header="item_id,title").parent), root)
    items = contents(root)["items"]
    assert [(item["item_id"], item["title"], item["created_at"].month) for item in items] == [("w", "W", 1), ("x", "X", 2)]


def test_a_conflict_with_what_is_there_names_the_new_row(tmp_path: Path) -> None:
    root, header = tmp_path / "store", f"event_id,{HEADER}"
    append(str(save(tmp_path / "a.csv", *(f"e{number},{row}" for number, row in enumerate(views(1, "x"))), header=header)), root)
    before = storage.digest(root)
    with pytest.raises(DataError, match=r"E120 b\.csv, line 3, column event_id, value 'e2'"):
        append(str(save(tmp_path / "b.csv", f"e9,{views(1, 'y')[0]}", f"e2,{views(1, 'y')[0]}", header=header)), root)
    assert storage.digest(root) == before


def test_a_collectors_landing_is_ingested_part_by_part(tmp_path: Path) -> None:
    landing, root = tmp_path / "landing", tmp_path / "store"
    for number in range(2):
        shown: list[dict[str, Any]] = [{"event_id": f"e{number}{user}", "user_id": f"u{user}", "item_id": "x"} for user in range(6)]
        shown = [{**row, "event_type": "view", "event_time": 1_735_689_600} for row in shown]
        (landing / "events").mkdir(parents=True, exist_ok=True)
        (landing / "events" / f"part-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
        (landing / ".spool").mkdir(exist_ok=True)
        report = append(str(landing), root)
        assert (report.known_files, report.tables["events"].rows_kept) == (number, 6)
    assert len(contents(root)["events"]) == 12


def test_times_and_mere_order_do_not_mix(tmp_path: Path) -> None:
    root = tmp_path / "store"
    append(str(save(tmp_path / "a.csv", *views(1, "x"))), root)
    save(tmp_path / "set" / "interactions.csv", *(f"u{user},x" for user in range(6)), header="user_id,item_id")
    with pytest.raises(UsageError, match="only one of the two has event times"):
        append(str(tmp_path / "set"), root)


def test_a_folder_that_another_process_adds_to_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with storage.exclusive(root), pytest.raises(EnvironmentFault, match="E513"):
        append(str(save(tmp_path / "a.csv", *views(1, "x"))), root)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.csv"]
