"""Objects of an S3 store: list, get, put, compare-and-swap, checksums, and resumable download of large objects.

Credentials and endpoint come from the usual AWS environment (AWS_ENDPOINT_URL for a server that is not Amazon's).
"""

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io.download import BLOCK_BYTES, download_resumable
from lodestar.io.s3 import s3_faults
from lodestar.io.safe_paths import path_below
from lodestar.process.safe_text import quoted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEME = "s3://"
CONNECT_S, READ_S, ATTEMPTS = 10, 60, 5
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_MD5 = re.compile(r"[0-9a-f]{32}(-[0-9]{1,5})?")
_CHANGED = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)


@dataclass(frozen=True, kw_only=True)
class Location:
    """An object or a prefix in a bucket; `prefix` has no trailing slash and is empty for the whole bucket."""

    client: "S3Client"
    bucket: str
    prefix: str

    def below(self, name: str) -> "Location":
        """The location PREFIX/name."""
        return Location(client=self.client, bucket=self.bucket, prefix=f"{self.prefix}/{name}" if self.prefix else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Size in bytes, time of change and ETag of an object; another content has another `etag`."""

    size: int
    modified: datetime
    etag: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """Content of an object and the ETag of the version that was read."""

    content: bytes
    etag: str


def locate(address: str) -> Location:
    """Parse an `s3://` address; raises UsageError if it has no valid bucket, EnvironmentFault E560 if its key is no safe path."""
    check_address(address)
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    return Location(client=connect(), bucket=bucket, prefix=key.rstrip("/"))


def check_address(address: str) -> None:
    """Check an `s3://` address without a request; UsageError E315 for no valid bucket, EnvironmentFault E560 for an unsafe key."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{quoted(address)} has no valid bucket: write s3://BUCKET/FOLDER", code="E315")
    if prefix := key.rstrip("/"):
        path_below(Path("/"), prefix, address)


def connect() -> "S3Client":
    """S3 client for the endpoint and account of the environment, cached; safe to share between threads."""
    return _client(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_ACCESS_KEY_ID"))


@functools.cache
def _client(_endpoint: str | None, _account: str | None) -> "S3Client":
    import boto3
    from botocore.config import Config

    limits = Config(retries={"total_max_attempts": ATTEMPTS, "mode": "standard"}, connect_timeout=CONNECT_S, read_timeout=READ_S)
    with s3_faults.settings():
        return boto3.client("s3", config=limits.merge(Config(**_checksums(_endpoint))))


def _checksums(endpoint: str | None) -> dict[str, Any]:
    """Options of a client for checksums: where a server is not Amazon's, which may refuse the newer ones, only those that it must have.

    The AWS library's own variables say otherwise, such as AWS_REQUEST_CHECKSUM_CALCULATION=when_supported.
    """
    options = {"AWS_REQUEST_CHECKSUM_CALCULATION": "request_checksum_calculation"}
    options |= {"AWS_RESPONSE_CHECKSUM_VALIDATION": "response_checksum_validation"}
    return {option: "when_required" for name, option in options.items() if endpoint and name not in os.environ}


def entries(location: Location) -> Mapping[str, Stored]:
    """All objects below a location by relative name, in order; the S3 console's folder markers (empty, name ends in `/`) are skipped."""
    start = location.prefix and f"{location.prefix}/"
    found = {}
    for page in location.client.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=start):
        for entry in page.get("Contents", ()):
            name = entry["Key"][len(start) :]
            if entry["Size"] or (name and not name.endswith("/")):
                found[name] = Stored(size=entry["Size"], modified=entry["LastModified"], etag=entry["ETag"])
    return found


def entry(location: Location) -> Stored | None:
    """Size, time and ETag of the object at a location; None if there is none."""
    from botocore.exceptions import ClientError

    try:
        found = location.client.head_object(Bucket=location.bucket, Key=location.prefix)
    except ClientError as error:
        if status_of(error) == HTTPStatus.NOT_FOUND:
            return None
        raise
    _check(location, found, "ContentLength", "LastModified", "ETag")
    return Stored(size=found["ContentLength"], modified=found["LastModified"], etag=found["ETag"])


def get_object(location: Location) -> Content | None:
    """Content of a small object; None if there is none."""
    try:
        found = location.client.get_object(Bucket=location.bucket, Key=location.prefix)
    except location.client.exceptions.NoSuchKey:
        return None
    _check(location, found, "ETag")
    return Content(content=found["Body"].read(), etag=found["ETag"])


def put_object(location: Location, content: bytes) -> None:
    """Write a small object, replacing any previous content."""
    _check(location, location.client.put_object(Bucket=location.bucket, Key=location.prefix, Body=content), "ETag")


def _check(location: Location, answer: Mapping[str, Any], *names: str) -> None:
    """EnvironmentFault E569 where an answer lacks what a store's has: the server is none."""
    if any(name not in answer for name in names):
        raise s3_faults.no_store(str(location))


def swap_object(location: Location, content: bytes, expected: Content | None) -> bool:
    """Compare-and-swap: write an object if its content is still `expected` (None: it does not exist); returns whether it was written."""
    from botocore.exceptions import ClientError

    condition: Any = {"IfMatch": expected.etag} if expected else {"IfNoneMatch": "*"}
    try:
        location.client.put_object(Bucket=location.bucket, Key=location.prefix, Body=content, **condition)
    except ClientError as error:
        if status_of(error) == HTTPStatus.NOT_IMPLEMENTED:  # a store without conditional writes: last writer wins
            put_object(location, content)
            return True
        if status_of(error) in _CHANGED:
            return False
        raise
    return True


def upload_file(location: Location, file: Path, there: Stored | None) -> None:
    """Upload a file unless the object already has the same bytes; `there` is its listing."""
    if there is None or there.size != file.stat().st_size or not _compare(file, location, _head(location)):
        location.client.upload_file(str(file), location.bucket, location.prefix)


def remove_objects(location: Location) -> None:
    """Remove all objects below a location; raises EnvironmentFault E569 if one cannot be removed.

    One by one: a request for many needs a checksum, of which stores that are not Amazon's know different ones.
    """
    from botocore.exceptions import ClientError

    for name in entries(location):
        one = location.below(name)
        try:
            location.client.delete_object(Bucket=one.bucket, Key=one.prefix)
        except ClientError as error:
            message = f"{one} cannot be removed ({error.response.get('Error', {}).get('Code', '')})"
            raise EnvironmentFault("E569", message, remedy="Allow these credentials to delete objects there.") from error


def server_time(location: Location) -> datetime:
    """Current time by the store's clock, which also sets its objects' times."""
    response = location.client.list_objects_v2(Bucket=location.bucket, Prefix=location.prefix, MaxKeys=1)
    _check(location, response["ResponseMetadata"]["HTTPHeaders"], "date")
    return parsedate_to_datetime(response["ResponseMetadata"]["HTTPHeaders"]["date"])


def status_of(error: Any) -> int:
    """HTTP status of a botocore ClientError; 0 if it has none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def fetch_object(location: Location, file: Path) -> None:
    """Resumable download of one version of an object; raises EnvironmentFault E511 if it does not match the store's checksum."""
    from botocore.exceptions import BotoCoreError

    head = _head(location)
    _check(location, head, "ContentLength", "ETag")
    size, etag = head["ContentLength"], head["ETag"]
    if file.is_file() and file.stat().st_size == size and _compare(file, location, head):
        return

    def read(start: int) -> Iterator[bytes]:
        try:
            body = location.client.get_object(Bucket=location.bucket, Key=location.prefix, Range=f"bytes={start}-", IfMatch=etag)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(BLOCK_BYTES)
        except BotoCoreError as error:  # a broken or hanging connection; an error response of the store is a ClientError
            raise OSError(f"{type(error).__name__} {error}") from error

    download_resumable(file, size=size, tag=f"{location.bucket}/{location.prefix} {etag}", read=read)
    if _compare(file, location, head) is False:
        file.unlink()
        remedy = "Run it again; if it fails again, upload the object anew."
        raise EnvironmentFault("E511", f"{location.prefix} does not match its checksum", remedy=remedy)


def _head(location: Location) -> Any:
    return location.client.head_object(Bucket=location.bucket, Key=location.prefix)


def _compare(file: Path, location: Location, head: Any) -> bool | None:
    """Whether a file has the content of an object by its ETag, the MD5 of its bytes or of its parts' MD5s; None if the ETag says neither.

    It says neither under KMS encryption, and on stores whose ETags are no MD5s or that do not say how long a part is.
    """
    etag, (_, _, parts) = head["ETag"].strip('"'), head["ETag"].strip('"').partition("-")
    if head.get("ServerSideEncryption", "AES256") != "AES256" or not _MD5.fullmatch(etag):
        return None
    part_bytes = _part_bytes(location, head, int(parts)) if parts else head["ContentLength"]
    if part_bytes is None:
        return None
    digests = _md5s(file, part_bytes)
    whole = f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{parts}" if parts else digests[0].hex()
    return bool(whole == etag)


def _part_bytes(location: Location, head: Any, num_parts: int) -> int | None:
    """Size of the first of an object's parts; None if the store does not say it: it refuses the question, or gives the whole's size."""
    from botocore.exceptions import ClientError

    try:
        part_bytes = location.client.head_object(Bucket=location.bucket, Key=location.prefix, PartNumber=1)["ContentLength"]
    except ClientError:
        return None
    return None if num_parts > 1 and part_bytes >= head["ContentLength"] else part_bytes


def _md5s(file: Path, part_bytes: int) -> list[bytes]:
    """MD5 of each part of a file; an empty file has one part."""
    digests, left = [hashlib.md5(usedforsecurity=False)], part_bytes
    with file.open("rb") as content:
        while block := content.read(min(BLOCK_BYTES, left or part_bytes)):
            if left == 0:
                digests.append(hashlib.md5(usedforsecurity=False))
                left = part_bytes
            digests[-1].update(block)
            left -= len(block)
    return [one.digest() for one in digests]
