"""Files of a table in a folder: by name in any case, or below a folder, as Spark and Hive write them."""

import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lodestar.data.ingest import ingest, validate
from lodestar.data.readers.readers import read
from lodestar.data.readers.table_files import files_below, files_of, partitions, with_partitions
from lodestar.errors import DataError, UsageError

EVENTS = "user_id,item_id,event_type,event_time\n" + "".join(f"u{n % 6},i{n},view,2026-01-{n + 1:02}T00:00:00Z\n" for n in range(12))


def write(path: Path, content: str | bytes = EVENTS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", ["events.csv", "EVENTS.CSV", "Events.tsv.gz", "events.dat", "events", "events.txt.xz"])
def test_a_table_is_found_by_its_name_in_any_case(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, gzip.compress(EVENTS.encode()) if name.endswith((".gz", ".xz")) else EVENTS)
    for other in ("events.csv.bak", "events.md5", ".events.csv", "_events.csv", "events-old.csv", "other.csv"):
        write(tmp_path / other, "x")
    assert files_of(tmp_path, "events") == [path]
    assert files_of(tmp_path, "items") == []
    assert validate(str(tmp_path)).tables["events"].rows_kept == 12


def spark_folder(root: Path, name: str) -> Path:
    """A folder as Spark writes it, with what is beside the data."""
    folder = root / name
    for number, day in enumerate(("2026-01-01", "2026-01-02")):
        path = write(folder / f"event_type=view/day={day}/part-0000{number}-abc.snappy.parquet", b"")
        rows = {"user_id": [f"u{n}" for n in range(5)], "item_id": ["i1"] * 5, "event_time": [f"{day}T00:00:0{n}Z" for n in range(5)]}
        pq.write_table(pa.table(rows), path)
        write(path.parent / f".{path.name}.crc", "x")
    for beside in ("_SUCCESS", "_temporary/0/part-00000.parquet", ".hidden/part-00000.parquet"):
        write(folder / beside, "x")
    return folder


@pytest.mark.parametrize("name", ["events.parquet", "events", "EVENTS.parquet"])
def test_a_folder_that_spark_wrote_is_one_table(name: str, tmp_path: Path) -> None:
    spark_folder(tmp_path, name)
    report = ingest(str(tmp_path), tmp_path.parent / "out").tables["events"]
    assert (report.rows_kept, report.ignored) == (10, ("day",))


@pytest.mark.parametrize("name", ["events.parquet", "events", "clicks.parquet"])
def test_a_folder_that_spark_wrote_may_be_given_itself(name: str, tmp_path: Path) -> None:
    folder = spark_folder(tmp_path, name)
    assert validate(str(folder)).tables["events"].rows_kept == 10
    assert validate(f"{folder}/*/*/*.parquet").tables["events"].rows_kept == 10


def test_parts_without_a_suffix_are_read_and_others_are_not(tmp_path: Path) -> None:
    names = ["part-00000", "part-r-00001", "000000_0", "000001_0_copy_1", "a.csv", "B.JSON"]
    wanted = [write(tmp_path / name) for name in names]
    for name in ("README", "part-00000.crc", "LICENSE", "notes.md", "part-00000.csv.tmp"):
        write(tmp_path / name)
    assert files_below(tmp_path) == sorted(wanted)


def test_a_folder_of_a_hidden_columns_value_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "events" / "_day=2026-01-01" / "part-0.csv")
    assert files_of(tmp_path, "events") == [path]


def test_a_table_that_comes_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "events.csv")
    spark_folder(tmp_path, "events.parquet")
    with pytest.raises(UsageError, match=r"the table events more than once: events\.csv, events\.parquet/; keep one"):
        files_of(tmp_path, "events")


@pytest.mark.parametrize("log", ["_delta_log/0.json", ".hoodie/x", "metadata/v1.metadata.json"])
def test_a_table_with_a_log_is_refused_as_rows_that_were_deleted_would_be_read(log: str, tmp_path: Path) -> None:
    write(tmp_path / "events.parquet" / "part-00000.csv")
    write(tmp_path / "events.parquet" / log)
    with pytest.raises(DataError, match=r"E161 events\.parquet: the file is an? (Delta|Hudi|Iceberg) table, .*\.parquet\(.events.\)"):
        files_of(tmp_path, "events")


def test_values_of_folders_are_columns_unless_the_file_has_them(tmp_path: Path) -> None:
    path = write(tmp_path / "e", "user_id,item_id\nu1,a\nu2,b\n")
    name = Path("country=France%20%26%20co/item_id=x/device=__HIVE_DEFAULT_PARTITION__/hour=/part-0.csv")
    assert partitions(name) == {"country": "France & co", "item_id": "x", "device": None, "hour": ""}
    wanted = ("item_id", "country", "device")
    found = with_partitions(read(path, wanted), partitions(name), wanted)
    assert found.names == ("user_id", "item_id", "country", "device", "hour")
    assert found.read().to_pylist() == [{"item_id": item, "country": "France & co", "device": None} for item in "ab"]
    assert partitions(Path("a/b.csv")) == {}


def test_links_are_followed_and_links_to_nothing_left_out(tmp_path: Path) -> None:
    target = write(tmp_path / "own" / "x.csv")
    (tmp_path / "events").mkdir()
    os.symlink(target, tmp_path / "events" / "a.csv")
    os.symlink(tmp_path / "nothing", tmp_path / "events" / "b.csv")
    assert files_of(tmp_path, "events") == [tmp_path / "events" / "a.csv"]
