"""Stores that are not Amazon's: their checksums, ETags and answers differ, and nothing is lost or refused for that."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError

from lodestar.errors import EnvironmentFault
from lodestar.io.s3 import s3_objects
from lodestar.io.s3.s3_objects import Location

PART_BYTES = 1000
BODY = bytes(range(250)) * 10
PARTS = [hashlib.md5(BODY[start : start + PART_BYTES], usedforsecurity=False).digest() for start in range(0, len(BODY), PART_BYTES)]
OF_PARTS = f'"{hashlib.md5(b"".join(PARTS), usedforsecurity=False).hexdigest()}-{len(PARTS)}"'
OF_WHOLE = f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'
NO_MD5 = '"0x8DBEEF"'
KNOWS, IGNORES, REFUSES = "knows", "ignores", "refuses"


class FakeStore:
    """One object, with an ETag and a way to answer a HEAD of its first part."""

    def __init__(self, etag: str, first_part: str = KNOWS, body: bytes = BODY) -> None:
        self.etag, self.first_part, self.body = etag, first_part, body
        self.uploads = 0

    def head_object(self, PartNumber: int = 0, **_: Any) -> dict[str, Any]:
        if PartNumber and self.first_part == REFUSES:
            raise ClientError({"Error": {"Code": "NotImplemented"}, "ResponseMetadata": {"HTTPStatusCode": 501}}, "HeadObject")  # type: ignore[typeddict-item]
        is_part = PartNumber and self.first_part == KNOWS
        return {"ContentLength": PART_BYTES if is_part else len(self.body), "ETag": self.etag}

    def get_object(self, Range: str, **_: Any) -> dict[str, Any]:
        rest = self.body[int(Range.removeprefix("bytes=").rstrip("-")) :]

        class Body(io.BytesIO):
            def iter_chunks(self, size: int) -> Any:
                return iter(lambda: self.read(size), b"")

        return {"Body": Body(rest)}

    def upload_file(self, *_: str) -> None:
        self.uploads += 1


def at(store: FakeStore) -> Location:
    return Location(client=store, bucket="b", prefix="f")  # type: ignore[arg-type]


STORES = [(OF_PARTS, KNOWS), (OF_PARTS, IGNORES), (OF_PARTS, REFUSES), (OF_WHOLE, KNOWS), (NO_MD5, KNOWS)]


@pytest.mark.parametrize(("etag", "first_part"), STORES)
def test_an_object_is_downloaded_whatever_its_etag_says(etag: str, first_part: str, tmp_path: Path) -> None:
    s3_objects.fetch_object(at(FakeStore(etag, first_part)), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("etag", [OF_PARTS, OF_WHOLE])
def test_a_content_that_the_etag_denies_is_refused(etag: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="E511"):
        s3_objects.fetch_object(at(FakeStore(etag, body=BODY[::-1])), tmp_path / "f")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(("etag", "first_part"), STORES)
def test_a_file_is_only_held_for_uploaded_where_the_etag_says_so(etag: str, first_part: str, tmp_path: Path) -> None:
    store, file = FakeStore(etag, first_part), tmp_path / "f"
    file.write_bytes(BODY)
    there = s3_objects.Stored(size=len(BODY), modified=None, etag=etag)  # type: ignore[arg-type]
    s3_objects.upload_file(at(store), file, there)
    is_told = first_part == KNOWS and etag != NO_MD5
    assert store.uploads == (0 if is_told else 1)
    file.write_bytes(BODY[::-1])
    s3_objects.upload_file(at(store), file, there)
    assert store.uploads == (1 if is_told else 2)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Send a put, and return its headers in lower case."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REQUEST_CHECKSUM_CALCULATION"):
        monkeypatch.delenv(name, raising=False)

    def put(**environment: str) -> set[str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        s3_objects._client.cache_clear()
        client, headers = s3_objects.connect(), set[str]()
        response: Any = AWSResponse("http://store", 200, HTTPHeaders(), None)
        response._content = b""  # which it would read from a connection

        def answer(request: Any, **_: Any) -> Any:
            headers.update(name.lower() for name in request.headers)
            return response

        client.meta.events.register("before-send.s3", answer)
        client.upload_fileobj(io.BytesIO(b"abc"), "bucket", "key")
        return headers

    yield put
    s3_objects._client.cache_clear()


def test_only_amazon_and_who_asks_for_it_gets_the_newer_checksums(sent: Any) -> None:
    newer = {"x-amz-trailer", "x-amz-sdk-checksum-algorithm"}
    assert newer & sent()
    assert not newer & sent(AWS_ENDPOINT_URL="https://127.0.0.1:9")
    assert newer & sent(AWS_REQUEST_CHECKSUM_CALCULATION="when_supported")


def test_objects_are_removed_without_a_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that removes many needs one, which older servers know as MD5 alone."""
    removed: list[str] = []

    class Store:
        def delete_object(self, Bucket: str, Key: str) -> None:
            assert Bucket == "b"
            removed.append(Key)

    monkeypatch.setattr(s3_objects, "entries", lambda _: dict.fromkeys(("a", "c/d")))
    s3_objects.remove_objects(Location(client=Store(), bucket="b", prefix="f"))  # type: ignore[arg-type]
    assert removed == ["f/a", "f/c/d"]
