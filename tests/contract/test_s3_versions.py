"""A folder in S3 is replaced by its pointer, at once; what killed uploads left goes, and nothing that anyone may read."""

import itertools
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from lodestar.errors import EnvironmentFault
from lodestar.io import s3_objects, s3_versions, storage

Folder = Callable[[str], Path]


@pytest.fixture
def address(bucket: str) -> str:
    return f"{bucket}/{uuid4().hex}"


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with some content."""
    names = itertools.count()

    def made(content: str) -> Path:
        root = tmp_path / f"made-{next(names)}"
        (root / "deep").mkdir(parents=True)
        (root / "deep" / "a").write_text(content)
        (root / "b").write_text(content)
        return root

    return made


def keys(address: str) -> list[str]:
    return sorted(s3_objects.entries(s3_objects.locate(address)))


def read(address: str, target: Path) -> str:
    return (storage.download(address, target) / "b").read_text()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_upload_that_is_killed_leaves_what_was_there(address: str, folder: Folder, tmp_path: Path, number: int) -> None:
    storage.upload(folder("old"), address)
    new, count = folder("new"), itertools.count(1)

    def killed(**_: object) -> None:
        if next(count) == number:  # two files, the mark that they are all there, the pointer
            raise RuntimeError("killed")

    events = s3_objects.connect().meta.events
    events.register("before-call.s3.PutObject", killed)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            storage.upload(new, address)
    finally:
        events.unregister("before-call.s3.PutObject", killed)
    assert read(address, tmp_path / "between") == "old"
    storage.upload(new, address)
    assert read(address, tmp_path / "after") == "new"


def test_an_upload_that_is_terminated_removes_what_it_uploaded(address: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = storage.upload(folder("old"), address)
    upload = s3_objects.upload_file

    def terminated(location: s3_objects.Location, file: Path, there: s3_objects.Stored | None) -> None:
        upload(location, file, there)
        raise SystemExit(143)

    monkeypatch.setattr(s3_versions, "upload_file", terminated)
    for content in ("new", "old"):  # of a version that was finished before, nothing is removed
        with pytest.raises(SystemExit):
            storage.upload(folder(content), address)
    versions = s3_objects.entries(s3_objects.locate(f"{address}/versions"))
    assert {name.partition("/")[0] for name in versions} == {before.rpartition("/")[2]}
    assert len(versions) == 2


def test_a_version_is_read_by_its_own_address_when_another_is_current(address: str, folder: Folder, tmp_path: Path) -> None:
    first, second = folder("first"), folder("second")
    versions = [storage.upload(made, address) for made in (first, second, first, second)]
    assert versions[:2] == versions[2:] == [f"{address}/versions/{storage.digest(made)}" for made in (first, second)]
    assert (read(versions[0], tmp_path / "1"), read(address, tmp_path / "2"), storage.resolve(address)) == ("first", "second", versions[1])
    assert keys(versions[0]) == ["b", "deep/a"]  # and no mark of ours, which an initializer would download


def test_a_plain_prefix_is_versioned_by_its_digest(address: str, folder: Folder, tmp_path: Path) -> None:
    made = folder("plain")
    for name in ("b", "deep/a"):
        s3_objects.put_object(s3_objects.locate(f"{address}/{name}"), b"plain")
    found = storage.download(address, tmp_path / "back", storage.digest(made))
    assert storage.digest(found) == storage.digest(made)
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.download(address, tmp_path / "other", "0" * 64)
    with pytest.raises(EnvironmentFault, match="E512"):
        storage.download(address, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_version_on_its_way_is_said_to_be_unfinished(address: str, folder: Folder, tmp_path: Path) -> None:
    made = folder("half")
    version = f"{address}/versions/{storage.digest(made)}"
    storage.put(b"half", f"{version}/b")
    with pytest.raises(EnvironmentFault, match="E512"):
        storage.download(version, tmp_path / "back")


def test_a_store_that_keeps_nothing_is_told_from_an_upload_without_end(
    address: str, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_versions, "upload_file", lambda *_: None)
    with pytest.raises(EnvironmentFault, match=r"E516 objects uploaded to .* disappear"):
        storage.upload(folder("lost"), address)


def test_what_nobody_finished_goes_after_a_day_and_nothing_else(address: str, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    finished, current = (storage.upload(folder(content), address) for content in ("finished", "current"))
    half = f"{address}/versions/{'0' * 64}"
    storage.put(b"half", f"{half}/b")
    storage.put(b"not ours", f"{address}/versions/notes.txt")
    client, where = boto3.client("s3"), s3_objects.locate(half)

    def uploads() -> int:
        return len(client.list_multipart_uploads(Bucket=where.bucket, Prefix=where.prefix).get("Uploads", []))

    storage.upload(folder("next"), address)
    assert keys(half) == ["b"]  # somebody may be at it
    client.create_multipart_upload(Bucket=where.bucket, Key=f"{where.prefix}/large")
    assert uploads() == 1
    monkeypatch.setattr(s3_versions, "UNFINISHED_S", -60.0)
    last = storage.upload(folder("last"), address)
    assert (keys(half), uploads()) == ([], 0)
    assert all(keys(version) == ["b", "deep/a"] for version in (finished, current, last))
    assert storage.get(f"{address}/versions/notes.txt") == b"not ours"


def test_an_older_run_does_not_replace_what_a_newer_one_has_published(address: str, folder: Folder, tmp_path: Path) -> None:
    storage.upload(folder("newer"), address, "2026-01-02T00:00:00+00:00")
    for _ in range(2):
        with pytest.raises(EnvironmentFault, match="E565"):
            storage.upload(folder("older"), address, "2026-01-02T00:30:00+01:00")
    assert read(address, tmp_path / "1") == "newer"
    storage.upload(folder("newest"), address, "2026-01-02T00:00:01Z")
    assert read(address, tmp_path / "2") == "newest"


def test_the_same_again_from_an_older_run_changes_nothing(address: str, folder: Folder, tmp_path: Path) -> None:
    version = storage.upload(folder("x"), address, "2026-01-02T00:00:00Z")
    for started_at in ("2026-01-01T00:00:00Z", ""):
        storage.refuse_older(folder("x"), address, started_at)
        assert storage.upload(folder("x"), address, started_at) == version
    for started_at in ("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z"):
        with pytest.raises(EnvironmentFault, match="E565"):
            storage.upload(folder("y"), address, started_at)
    assert read(address, tmp_path / "back") == "x"


def test_of_two_that_publish_at_once_the_newer_one_stays(address: str, folder: Folder, tmp_path: Path) -> None:
    older, newer = folder("older"), folder("newer")

    def overtaken(**_: object) -> None:
        events.unregister("before-call.s3.PutObject", overtaken)
        storage.upload(newer, address, "2026-01-02T00:00:00Z")

    storage.upload(folder("first"), address, "2026-01-01T00:00:00Z")
    events = s3_objects.connect().meta.events
    events.register("before-call.s3.PutObject", overtaken)
    with pytest.raises(EnvironmentFault, match="E565"):
        storage.upload(older, address, "2026-01-01T12:00:00Z")
    assert read(address, tmp_path / "back") == "newer"


POINTER = b'{"digest": "%s", "started_at": %s}'
WRONG = (
    *(b"s3://models/elsewhere", b'{"digest": "../../elsewhere"}', b"[]", b"{}", b'{"digest": 1}', b"[" * 100_000, b"\xff"),
    *(POINTER % (b"0" * 64, started_at) for started_at in (b'"yesterday"', b'"2026-01-01"', b"1", b'["2026"]')),
)


@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
def test_a_pointer_leads_to_a_version_or_is_refused(address: str, tmp_path: Path, content: bytes) -> None:
    storage.put(content, f"{address}/current")
    with pytest.raises(EnvironmentFault, match="E563"):
        storage.download(address, tmp_path / "back")


def test_what_was_changed_is_put_right_by_publishing_again(address: str, folder: Folder, tmp_path: Path) -> None:
    made = folder("right")
    version = storage.upload(made, address)
    storage.put(b"wrong", f"{version}/b")
    with pytest.raises(EnvironmentFault, match="E511"):
        storage.download(address, tmp_path / "back")
    storage.upload(made, address)
    assert read(address, tmp_path / "back") == "right"


def test_all_below_an_address_is_removed_and_nothing_beside(address: str, folder: Folder) -> None:
    storage.upload(folder("x"), address)
    storage.upload(folder("x"), f"{address}-beside")
    storage.remove(address)
    assert (keys(address), len(keys(f"{address}-beside"))) == ([], 4)


def test_an_empty_folder_is_not_published(address: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EnvironmentFault, match="E566"):
        storage.upload(tmp_path / "empty", address)


def test_a_store_that_says_no_is_told_with_its_address(
    bucket: str, folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call in (lambda: storage.upload(folder("x"), "s3://none-such/a"), lambda: storage.download("s3://none-such/a", tmp_path / "b")):
        with pytest.raises(EnvironmentFault, match=r"E569 s3://none-such/a: .*NoSuchBucket"):
            call()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(EnvironmentFault, match=r"E569 .*EndpointConnectionError"):
        storage.get(f"{bucket}/a")
