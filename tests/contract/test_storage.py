"""Folders go to a real S3 server and come back equal, or not at all."""

import glob
import io
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import numpy as np
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ResponseStreamingError
from botocore.response import StreamingBody

from lodestar.data.ingest import append
from lodestar.errors import EnvironmentFault
from lodestar.io import download, s3_objects, storage
from tests.contract.conftest import ROOT


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


def test_an_upload_that_nothing_points_to_is_ignored(bucket: str, folder: Path, tmp_path: Path) -> None:
    boto3.client("s3").upload_file(str(folder / "info.json"), "models", "half/info.json")
    with pytest.raises(EnvironmentFault, match="E512"):
        storage.download(f"{bucket}/half", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_changed_object_is_noticed_and_nothing_is_left(bucket: str, folder: Path, tmp_path: Path) -> None:
    storage.upload(folder, f"{bucket}/changed")
    boto3.client("s3").put_object(Bucket="models", Key=f"changed/versions/{storage.digest(folder)}/info.json", Body=b"{1}")
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
    boto3.client("s3").put_object(Bucket="models", Key=f"whole/versions/{storage.digest(folder)}/info.json", Body=b"{1}")
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.fetch(f"{bucket}/whole", tmp_path / "again")


def test_a_wildcard_names_objects_of_one_depth(bucket: str, tmp_path: Path) -> None:
    client = boto3.client("s3")
    for key in ("logs/2026-01/a.csv", "logs/2026-02/a.csv", "logs/2026-02/b.json", "logs/2025-12/a.csv", "logs/2026-01/deep/a.csv"):
        client.put_object(Bucket="models", Key=key, Body=key.encode())
    found = storage.fetch(f"{bucket}/logs/2026-*/*.csv", tmp_path)
    assert found == tmp_path / "logs" / "2026-*" / "*.csv"
    downloaded = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.*"))
    assert downloaded == ["logs/2026-01/a.csv", "logs/2026-02/a.csv"]
    assert (tmp_path / downloaded[1]).read_text() == downloaded[1]
    with pytest.raises(EnvironmentFault, match="nothing is stored"):
        storage.fetch(f"{bucket}/logs/2027-*/*.csv", tmp_path)


def test_a_wildcard_matches_no_hidden_object_as_it_matches_no_hidden_file(bucket: str, tmp_path: Path) -> None:
    """A file that Finder or a half-done copy left beside the data is read neither from a folder nor from a bucket."""
    for name in ("a.csv", ".a.csv", ".parts/a.csv", "parts/.a.csv", "parts/a.csv"):
        storage.put(name.encode(), f"{bucket}/hidden/{name}")
        (tmp_path / "disk" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "disk" / name).touch()
    for number, pattern in enumerate(("*.csv", "*/*.csv", ".*.csv", "?arts/*.csv", ".*/?.csv", ".p*/*")):
        _, listed = storage.listed(f"{bucket}/hidden/{pattern}", tmp_path / str(number))
        files = {Path(path).relative_to(tmp_path / "disk") for path in glob.glob(str(tmp_path / "disk" / pattern))}
        assert {path.relative_to(tmp_path / str(number) / "hidden") for path in listed} == files


def test_data_with_a_file_called_current_are_listed_and_fetched_as_they_are(bucket: str, folder: Path, tmp_path: Path) -> None:
    for name in ("current", "events.csv"):
        storage.put(name.encode(), f"{bucket}/named/{name}")
    _, listed = storage.listed(f"{bucket}/named", tmp_path / "listed")
    fetched = storage.fetch(f"{bucket}/named", tmp_path / "fetched")
    assert {path.name for path in listed} == {path.name for path in fetched.iterdir()} == {"current", "events.csv"}
    storage.upload(folder, f"{bucket}/published")
    _, listed = storage.listed(f"{bucket}/published", tmp_path)
    assert {path.name for path in listed} == {"info.json", "weights.bin"}


def test_who_needs_a_bundle_that_another_process_downloads_waits_for_it(
    bucket: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers of one machine that are started together."""
    monkeypatch.setattr(storage, "POLL_S", 0.01)
    address, downloads = f"{bucket}/shared", list[str]()
    storage.upload(folder, address)
    s3_objects.connect().meta.events.register("before-call.s3.GetObject", lambda params, **_: downloads.append(params["url_path"]))
    target = storage.ensure_local(address, tmp_path / "cache")
    assert storage.digest(target) == storage.digest(folder)
    shutil.rmtree(target)
    num_downloads = len([path for path in downloads if "versions" in path])
    with ThreadPoolExecutor() as pool:
        with storage.publish_folder(target) as work:
            shutil.copytree(folder, work, dirs_exist_ok=True)
            second = pool.submit(storage.ensure_local, address, tmp_path / "cache")
            said = ""
            while "waiting" not in said and not second.done():
                said += capsys.readouterr().err
            assert f"another process downloads {address}" in said
        assert second.result() == target
    assert len([path for path in downloads if "versions" in path]) == num_downloads
    monkeypatch.setattr(storage, "WAIT_S", 0.0)
    shutil.rmtree(target)
    with storage.exclusive(target), pytest.raises(EnvironmentFault, match="E513"):
        storage.ensure_local(address, tmp_path / "cache")


@pytest.fixture
def large(bucket: str) -> bytes:
    """What is stored in three parts, and so has no MD5 of its own."""
    content = np.random.default_rng(0).bytes(17 << 20)
    parts = TransferConfig(multipart_threshold=8 << 20, multipart_chunksize=8 << 20)
    boto3.client("s3").upload_fileobj(io.BytesIO(content), "models", "large/part.bin", Config=parts)
    assert boto3.client("s3").head_object(Bucket="models", Key="large/part.bin")["ETag"].endswith('-3"')
    return content


def killed_on_its_way(bucket: str, folder: Path) -> Path:
    """Fetch in a process that is killed when some of it is there; the part that it leaves."""
    slowly = "import time, lodestar.io.download as d; d.Progress.advance = lambda *_, **__: time.sleep(0.05)"
    fetch = f"storage.fetch({bucket + '/large'!r}, Path({str(folder)!r}))"
    program = f"{slowly}; from pathlib import Path; from lodestar.io import storage; {fetch}"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    while not (parts := [part for part in folder.rglob(".*.part") if part.stat().st_size > 2 << 20]):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    return parts[0]


def test_what_a_killed_process_has_got_is_not_downloaded_again(bucket: str, large: bytes, tmp_path: Path) -> None:
    part = killed_on_its_way(bucket, tmp_path)
    held = part.stat().st_size
    assert 0 < held < len(large)
    ranges: list[str] = []
    s3_objects.connect().meta.events.register("before-call.s3.GetObject", lambda params, **_: ranges.append(params["headers"]["Range"]))
    found = storage.fetch(f"{bucket}/large", tmp_path)
    assert (found / "part.bin").read_bytes() == large
    assert ranges == [f"bytes={held}-"]
    assert [file.name for file in found.iterdir()] == ["part.bin"]
    storage.fetch(f"{bucket}/large", tmp_path)
    assert len(ranges) == 1  # it is there, and is what the store has


def test_a_byte_that_is_wrong_is_noticed_and_the_next_call_downloads_all(bucket: str, large: bytes, tmp_path: Path) -> None:
    part = killed_on_its_way(bucket, tmp_path)
    with part.open("r+b") as content:
        content.write(b"\0" if large[:1] != b"\0" else b"1")
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.fetch(f"{bucket}/large", tmp_path)
    assert (storage.fetch(f"{bucket}/large", tmp_path) / "part.bin").read_bytes() == large


def test_an_object_that_is_stored_anew_on_the_way_is_not_mixed_with_the_old(bucket: str, large: bytes, tmp_path: Path) -> None:
    killed_on_its_way(bucket, tmp_path)
    boto3.client("s3").put_object(Bucket="models", Key="large/part.bin", Body=large[::-1])
    assert (storage.fetch(f"{bucket}/large", tmp_path) / "part.bin").read_bytes() == large[::-1]


def test_an_empty_object_comes_too(bucket: str, tmp_path: Path) -> None:
    boto3.client("s3").put_object(Bucket="models", Key="empty/nothing.csv", Body=b"")
    assert (storage.fetch(f"{bucket}/empty", tmp_path) / "nothing.csv").read_bytes() == b""


def test_bytes_that_stop_coming_are_asked_for_again_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    content, asked = bytes(range(100)), []

    def read(start: int) -> Iterator[bytes]:
        asked.append(start)
        yield content[start : start + 30]
        raise ConnectionResetError("gone")

    download.download_resumable(tmp_path / "whole", size=100, tag="a", read=read)
    assert (tmp_path / "whole").read_bytes() == content
    assert asked == [0, 30, 60, 90]

    def silent(start: int) -> Iterator[bytes]:
        raise ConnectionResetError("gone")
        yield b""

    with pytest.raises(EnvironmentFault, match="E514 the download of never stopped at 0 of 5 bytes"):
        download.download_resumable(tmp_path / "never", size=5, tag="a", read=silent)


def test_files_in_a_bucket_are_ingested_by_wildcard_once(bucket: str, tmp_path: Path) -> None:
    rows = [f"u{user},i{(user + step) % 5},view,2026-01-0{step + 1}T00:00:00Z" for user in range(6) for step in range(4)]
    for number in range(2):
        body = "\n".join(["user_id,item_id,event_type,event_time", *rows[number::2]]) + "\n"
        boto3.client("s3").put_object(Bucket="models", Key=f"clicks/2026-0{number + 1}/part.csv", Body=body.encode())
    data, root = f"{bucket}/clicks/2026-*/part.csv", tmp_path / "shop"
    assert append(data, root).tables["events"].rows_kept == len(rows)
    again = append(data, root)
    assert (again.known_files, again.tables["events"].rows_kept) == (2, 0)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_connection_that_breaks_is_asked_again(bucket: str, large: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    whole, broken = StreamingBody.iter_chunks, list[int]()

    def breaks_once(body: StreamingBody, size: int) -> Iterator[bytes]:
        chunks = whole(body, size)
        yield next(chunks)
        if not broken:
            broken.append(1)
            raise ResponseStreamingError(error="reset")
        yield from chunks

    monkeypatch.setattr(StreamingBody, "iter_chunks", breaks_once)
    assert (storage.fetch(f"{bucket}/large", tmp_path) / "part.bin").read_bytes() == large
    assert broken
