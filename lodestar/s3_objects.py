"""Objects of an S3 store: listed, read, written and compared; one that is large is brought in pieces, and goes on where a killed call was.

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

from lodestar.download import BLOCK_BYTES, bring
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.file_names import path_below

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEME = "s3://"
CONNECT_S, READ_S = 10, 60
MOST_REMOVED = 1_000  # of one request
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_CHANGED = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND)


@dataclass(frozen=True, kw_only=True)
class Location:
    """A place in a bucket: an object, or what lies below `prefix`, which ends without a slash and is empty for a whole bucket."""

    client: "S3Client"
    bucket: str
    prefix: str

    def below(self, name: str) -> "Location":
        return Location(client=self.client, bucket=self.bucket, prefix=f"{self.prefix}/{name}" if self.prefix else name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """An object as a listing has it; another content has another `etag`."""

    size: int
    modified: datetime
    etag: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """An object as it was read; `etag` names this state of it."""

    content: bytes
    etag: str


def locate(address: str) -> Location:
    """The place that an `s3://` address names; UsageError where it names none, E560 where a part of it leads elsewhere."""
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise UsageError(f"{address!r} names no bucket: write s3://BUCKET/FOLDER")
    prefix = key.rstrip("/")
    if prefix:
        path_below(Path("/"), prefix, address)
    return Location(client=connect(), bucket=bucket, prefix=prefix)


@contextlib.contextmanager
def coded(address: str) -> Iterator[None]:
    """What the store or the way to it says is an EnvironmentFault E569 that names the address."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        message = f"{address}: the store does not do what is asked ({type(error).__name__} {error})"
        raise EnvironmentFault(
            "E569", message, remedy="See that AWS_ENDPOINT_URL, credentials, their rights and the bucket are right."
        ) from error


def connect() -> "S3Client":
    """One client for each store and account that the environment names; it may be used by several threads."""
    return _made(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_ACCESS_KEY_ID"))


@functools.cache
def _made(_endpoint: str | None, _account: str | None) -> "S3Client":
    import boto3
    from botocore.config import Config

    limits = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=CONNECT_S, read_timeout=READ_S)
    return boto3.client("s3", config=limits)


def entries(location: Location) -> Mapping[str, Stored]:
    """All objects below a place by their names there, in order; an empty one whose name ends in a slash is a console's mark of a folder."""
    start = location.prefix and f"{location.prefix}/"
    found = {}
    for page in location.client.get_paginator("list_objects_v2").paginate(Bucket=location.bucket, Prefix=start):
        for entry in page.get("Contents", ()):
            name = entry["Key"][len(start) :]
            if entry["Size"] or (name and not name.endswith("/")):
                found[name] = Stored(size=entry["Size"], modified=entry["LastModified"], etag=entry["ETag"])
    return found


def entry(location: Location) -> Stored | None:
    """The object at a place as a listing has it, None where there is none."""
    from botocore.exceptions import ClientError

    try:
        found = location.client.head_object(Bucket=location.bucket, Key=location.prefix)
    except ClientError as error:
        if status_of(error) == HTTPStatus.NOT_FOUND:
            return None
        raise
    return Stored(size=found["ContentLength"], modified=found["LastModified"], etag=found["ETag"])


def get_object(location: Location) -> Content | None:
    """A small object, None where there is none."""
    try:
        found = location.client.get_object(Bucket=location.bucket, Key=location.prefix)
    except location.client.exceptions.NoSuchKey:
        return None
    return Content(content=found["Body"].read(), etag=found["ETag"])


def put_object(location: Location, content: bytes) -> None:
    location.client.put_object(Bucket=location.bucket, Key=location.prefix, Body=content)


def swap_object(location: Location, content: bytes, expected: Content | None) -> bool:
    """Put an object if there is still what was expected, of which None is nothing; whether it was put."""
    from botocore.exceptions import ClientError

    condition: Any = {"IfMatch": expected.etag} if expected else {"IfNoneMatch": "*"}
    try:
        location.client.put_object(Bucket=location.bucket, Key=location.prefix, Body=content, **condition)
    except ClientError as error:
        if status_of(error) == HTTPStatus.NOT_IMPLEMENTED:  # a store without conditions: the last one to write wins
            put_object(location, content)
            return True
        if status_of(error) in _CHANGED:
            return False
        raise
    return True


def upload_file(location: Location, file: Path, there: Stored | None) -> None:
    """Put a file, but where the same bytes are there already."""
    size = file.stat().st_size
    if there is None or there.size != size or not _has_same_checksum(location, file):
        location.client.upload_file(str(file), location.bucket, location.prefix)


def remove_objects(location: Location) -> None:
    """Remove all that lies below a place."""
    names = list(entries(location))
    for first in range(0, len(names), MOST_REMOVED):
        keys = [{"Key": location.below(name).prefix} for name in names[first : first + MOST_REMOVED]]
        done = location.client.delete_objects(Bucket=location.bucket, Delete={"Objects": keys, "Quiet": True})  # type: ignore[typeddict-item]
        for error in done.get("Errors", ()):
            message = f"{SCHEME}{location.bucket}/{error.get('Key')} cannot be removed ({error.get('Code')})"
            raise EnvironmentFault("E569", message, remedy="See that these credentials may remove objects there.")


def server_time(location: Location) -> datetime:
    """What the store's clock says, which its objects' times go by."""
    answer = location.client.list_objects_v2(Bucket=location.bucket, Prefix=location.prefix, MaxKeys=1)
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def status_of(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def fetch_object(location: Location, file: Path) -> None:
    """In pieces, of one version; EnvironmentFault E511 where what came is not what the store has the checksum of."""
    from botocore.exceptions import BotoCoreError

    about = location.client.head_object(Bucket=location.bucket, Key=location.prefix)
    size, etag = about["ContentLength"], about["ETag"]
    if file.is_file() and file.stat().st_size == size and _is(file, location, about):
        return

    def read(start: int) -> Iterator[bytes]:
        try:
            body = location.client.get_object(Bucket=location.bucket, Key=location.prefix, Range=f"bytes={start}-", IfMatch=etag)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(BLOCK_BYTES)
        except BotoCoreError as error:  # a connection that breaks or hangs; what the store says is a ClientError
            raise OSError(f"{type(error).__name__} {error}") from error

    bring(file, size=size, tag=f"{location.bucket}/{location.prefix} {etag}", read=read)
    if not _is(file, location, about):
        file.unlink()
        raise EnvironmentFault(
            "E511", f"{location.prefix} does not match its checksum", remedy="Run it again; if it stays so, store it again."
        )


def _has_same_checksum(location: Location, file: Path) -> bool:
    about = location.client.head_object(Bucket=location.bucket, Key=location.prefix)
    return _has_checksum(about) and _is(file, location, about)


def _has_checksum(about: Any) -> bool:
    return bool(about.get("ServerSideEncryption", "AES256") == "AES256")


def _is(file: Path, location: Location, about: Any) -> bool:
    """Is a file what the store's ETag says: the MD5 of its bytes, or of its parts' MD5s? It says neither where the store encrypts."""
    etag, _, parts = about["ETag"].strip('"').partition("-")
    if not _has_checksum(about):
        return True
    whole_bytes = about["ContentLength"]
    part_bytes = (
        location.client.head_object(Bucket=location.bucket, Key=location.prefix, PartNumber=1)["ContentLength"] if parts else whole_bytes
    )
    digests = _md5s(file, part_bytes)
    whole = hashlib.md5(b"".join(digests), usedforsecurity=False).digest() if parts else digests[0]
    return bool(whole.hex() == etag)


def _md5s(file: Path, part_bytes: int) -> list[bytes]:
    """Of each part; of a file with nothing in it, one."""
    digests, left = [hashlib.md5(usedforsecurity=False)], part_bytes
    with file.open("rb") as content:
        while block := content.read(min(BLOCK_BYTES, left or part_bytes)):
            if left == 0:
                digests.append(hashlib.md5(usedforsecurity=False))
                left = part_bytes
            digests[-1].update(block)
            left -= len(block)
    return [one.digest() for one in digests]
