"""A version of the data stays while nothing that is read changes, and changes with what is read, on disk and in a bucket."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

import cli.local
from cli.main import main
from lodestar.data.address import parse_address
from lodestar.data.ingest import ingest
from lodestar.data.version import data_version
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io import storage

HEAD = "user_id,item_id,event_type,event_time\n"
BUCKET = "versions"


def rows(users: int = 6, item: str = "i") -> str:
    return HEAD + "".join(f"u{user},{item}{user},view,2026-01-02T00:00:0{user}Z\n" for user in range(users))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shop"
    made.mkdir()
    (made / "events.csv").write_text(rows())
    return made


def test_the_same_files_have_the_same_version_and_another_content_another(folder: Path) -> None:
    before, stamp = data_version(str(folder)), (folder / "events.csv").stat()
    assert data_version(str(folder)) == before
    (folder / "events.csv").write_text(rows(item="j"))
    os.utime(folder / "events.csv", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (folder / "events.csv").stat().st_size == stamp.st_size
    assert data_version(str(folder)) != before


def test_what_ingest_does_not_read_does_not_count(folder: Path) -> None:
    before = data_version(str(folder))
    (folder / "notes.md").write_text("a note")
    (folder / "report.json").write_text("{}")
    assert data_version(str(folder)) == before
    (folder / "items.csv").write_text("item_id\ni1\n")
    assert data_version(str(folder)) != before


def test_what_the_address_says_of_columns_counts(folder: Path) -> None:
    renamed = data_version(f"{folder}?map=event_time=at")
    assert renamed != data_version(str(folder))
    assert renamed != data_version(f"{folder}?map=event_time=when")


def test_a_text_for_the_cache_changes_the_version_and_nothing_that_is_read(folder: Path, tmp_path: Path) -> None:
    anew = f"{folder}?map=event_time=event_time&cache=2"
    assert str(parse_address(anew)) == anew
    assert len({data_version(text) for text in (str(folder), f"{folder}?cache=1", f"{folder}?cache=2", anew)}) == 4
    assert ingest(f"{folder}?cache=2", tmp_path / "out").tables["events"].rows_kept == 6
    for text in ("?cache=", "?cache=a b", "?cache=2&quarantine=1"):
        with pytest.raises(UsageError, match="cache"):
            data_version(f"{folder}{text}")


def test_a_known_data_set_of_which_a_file_is_missing_has_a_version(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text("1\t2\t3\t881250949\n")
    before = data_version(str(tmp_path))
    (tmp_path / "u.item").write_text(f"2|Two (1999)|||{'|0' * 19}\n")
    assert data_version(str(tmp_path)) != before


def test_the_simulators_data_have_a_version_by_their_settings() -> None:
    assert data_version("simulator:users=300") == data_version("simulator:users=300")
    assert data_version("simulator:users=300") != data_version("simulator:users=301")


def test_nothing_to_read_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file or folder"):
        data_version(str(tmp_path / "none.csv"))


@pytest.fixture(scope="module")
def store() -> Iterator[None]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        patch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    yield
    patch.undo()
    server.stop()


def put(key: str, text: str) -> None:
    boto3.client("s3").put_object(Bucket=BUCKET, Key=key, Body=text.encode())


@pytest.mark.usefixtures("store")
def test_a_bucket_is_told_by_keys_sizes_and_etags_of_what_is_read() -> None:
    put("told/events/part-0.csv", rows())
    before = data_version(f"s3://{BUCKET}/told/events/")
    put("told/events-old/part-0.csv", rows(item="old"))
    put("told/events/_SUCCESS", "")
    assert data_version(f"s3://{BUCKET}/told/events/") == before
    put("told/events/part-0.csv", rows(item="j"))
    changed = data_version(f"s3://{BUCKET}/told/events/")
    assert changed != before
    put("told/events/part-1.csv", rows())
    assert data_version(f"s3://{BUCKET}/told/events/") not in {before, changed}


@pytest.mark.usefixtures("store")
def test_one_object_and_a_wildcard_have_a_version_too() -> None:
    put("some/a.csv", rows())
    put("some/a.csv.bak", rows())
    one, several = data_version(f"s3://{BUCKET}/some/a.csv"), data_version(f"s3://{BUCKET}/some/*.csv")
    put("some/a.csv.bak", HEAD)
    assert (data_version(f"s3://{BUCKET}/some/a.csv"), data_version(f"s3://{BUCKET}/some/*.csv")) == (one, several)
    put("some/a.csv", rows(item="k"))
    assert data_version(f"s3://{BUCKET}/some/a.csv") != one
    assert data_version(f"s3://{BUCKET}/some/*.csv") != several
    with pytest.raises(EnvironmentFault, match="E510"):
        data_version(f"s3://{BUCKET}/some/none.csv")


@pytest.mark.usefixtures("store")
def test_a_folder_of_tables_is_told_by_what_its_manifest_names(folder: Path, tmp_path: Path) -> None:
    ingest(str(folder), tmp_path / "tables")
    for file in (tmp_path / "tables").rglob("*"):
        if file.is_file():
            boto3.client("s3").upload_file(str(file), BUCKET, f"held/{file.relative_to(tmp_path / 'tables').as_posix()}")
    before = data_version(f"s3://{BUCKET}/held")
    put("held/events/left-behind.parquet", "not named")
    assert data_version(f"s3://{BUCKET}/held") == before


def test_what_training_begins_from_counts_with_what_it_holds(tmp_path: Path) -> None:
    vectors, bundle = tmp_path / "vectors.parquet", tmp_path / "bundle"
    bundle.mkdir()
    seen = {data_version("simulator"), data_version("simulator", [str(vectors)])}
    for file in (vectors, bundle / "weights.npz"):
        for content in (b"one", b"two"):
            file.write_bytes(content)
            seen.add(data_version("simulator", [str(vectors), str(bundle)]))
    assert len(seen) == 6
    assert data_version("simulator", [str(vectors), str(bundle)]) in seen


@pytest.mark.usefixtures("store")
def test_what_training_begins_from_in_a_bucket_counts_with_what_it_holds(tmp_path: Path) -> None:
    begins_from = [f"s3://{BUCKET}/begin/vectors.parquet", f"s3://{BUCKET}/begin/bundle"]
    (tmp_path / "weights.npz").write_text("one")
    put("begin/vectors.parquet", "one")
    storage.upload(tmp_path, begins_from[1])
    first = data_version("simulator", begins_from)
    put("begin/vectors.parquet", "two")
    second = data_version("simulator", begins_from)
    (tmp_path / "weights.npz").write_text("two")
    storage.upload(tmp_path, begins_from[1])
    assert len({first, second, data_version("simulator", begins_from)}) == 3
    with pytest.raises(EnvironmentFault, match="E510"):
        data_version("simulator", [f"s3://{BUCKET}/begin/none"])


def test_a_file_whose_name_begins_as_the_simulators_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("simulator-logs.csv").write_text(rows())
    assert ingest(str(tmp_path / "simulator-logs.csv"), tmp_path / "tables").source == "simulator-logs.csv"
    asked: list[Mapping[str, Any]] = []

    def noted(_file: Path, parameters: Mapping[str, Any], *_: object, **__: object) -> None:
        asked.append(parameters)
        sys.exit(0)

    monkeypatch.setattr(cli.local, "run", noted)
    with pytest.raises(SystemExit):
        main(["run", "--data", "simulator-logs.csv"])
    assert asked[0]["recipe"] == "sasrec"


@pytest.mark.usefixtures("store")
def test_part_files_of_a_folder_are_read_and_no_other_folders(tmp_path: Path) -> None:
    put("parts/events/part-0.csv", rows(3))
    put("parts/events/day=2/part-1.csv", rows(6, item="j"))
    put("parts/events-old/part-0.csv", rows(item="old"))
    report = ingest(f"s3://{BUCKET}/parts/events/", tmp_path / "tables")
    assert report.tables["events"].rows_kept == 9
