"""Folders go to a real S3 server and come back equal, or not at all."""

from pathlib import Path

import boto3
import pytest

from lodestar import storage
from lodestar.errors import EnvironmentFault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "bundle"
    (root / "deep").mkdir(parents=True)
    (root / "info.json").write_text("{}")
    (root / "deep" / "weights.bin").write_bytes(bytes(range(256)) * 100)
    return root


def test_a_folder_comes_back_equal(bucket: str, folder: Path, tmp_path: Path) -> None:
    storage.upload(folder, f"{bucket}/a")
    assert storage.digest(storage.download(f"{bucket}/a", tmp_path / "back")) == storage.digest(folder)


def test_an_upload_without_its_mark_is_not_taken(bucket: str, folder: Path, tmp_path: Path) -> None:
    boto3.client("s3").upload_file(str(folder / "info.json"), "models", "half/info.json")
    with pytest.raises(EnvironmentFault, match="E512"):
        storage.download(f"{bucket}/half", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_changed_object_is_noticed_and_nothing_is_left(bucket: str, folder: Path, tmp_path: Path) -> None:
    storage.upload(folder, f"{bucket}/changed")
    boto3.client("s3").put_object(Bucket="models", Key="changed/info.json", Body=b"{1}")
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.download(f"{bucket}/changed", tmp_path / "back")
    assert list(tmp_path.iterdir()) == [folder]


def test_an_absent_address_says_so(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="nothing is stored"):
        storage.download(f"{bucket}/none", tmp_path / "back")


def test_an_object_is_put_whole(bucket: str) -> None:
    storage.put(b"0123", f"{bucket}/current")
    assert boto3.client("s3").get_object(Bucket="models", Key="current")["Body"].read() == b"0123"


def test_objects_that_others_put_are_fetched_without_a_mark(bucket: str, tmp_path: Path) -> None:
    client = boto3.client("s3")
    for key in ("plain/events.csv", "plain/deep/notes.txt"):
        client.put_object(Bucket="models", Key=key, Body=key.encode())
    (tmp_path / "one").mkdir()
    assert storage.fetch(f"{bucket}/plain/events.csv", tmp_path / "one").read_text() == "plain/events.csv"
    folder = storage.fetch(f"{bucket}/plain", tmp_path)
    assert sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.*")) == ["deep/notes.txt", "events.csv"]
    with pytest.raises(EnvironmentFault, match="nothing is stored"):
        storage.fetch(f"{bucket}/none.csv", tmp_path)


def test_a_finished_folder_is_fetched_by_its_digest(bucket: str, folder: Path, tmp_path: Path) -> None:
    storage.upload(folder, f"{bucket}/whole")
    assert storage.digest(storage.fetch(f"{bucket}/whole", tmp_path)) == storage.digest(folder)
    boto3.client("s3").put_object(Bucket="models", Key="whole/info.json", Body=b"{1}")
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.fetch(f"{bucket}/whole", tmp_path / "again")
