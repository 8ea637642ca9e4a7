"""One object of an S3 store to a file: resumed where a call that was killed left off, and checked against the store's checksum."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lodestar.download import BLOCK_BYTES, bring
from lodestar.errors import EnvironmentFault

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def status_of(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def fetch_object(client: "S3Client", bucket: str, key: str, file: Path) -> None:
    """In pieces, of one version; EnvironmentFault E511 where what came is not what the store has the checksum of."""
    from botocore.exceptions import BotoCoreError

    about = client.head_object(Bucket=bucket, Key=key)
    size, etag = about["ContentLength"], about["ETag"]
    if file.is_file() and file.stat().st_size == size and _is(file, client, bucket, key, about):
        return

    def read(start: int) -> Iterator[bytes]:
        try:
            body = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-", IfMatch=etag)["Body"]
            with contextlib.closing(body):
                yield from body.iter_chunks(BLOCK_BYTES)
        except BotoCoreError as error:  # a connection that breaks or hangs; what the store says is a ClientError
            raise OSError(f"{type(error).__name__} {error}") from error

    bring(file, size=size, tag=f"{bucket}/{key} {etag}", read=read)
    if not _is(file, client, bucket, key, about):
        file.unlink()
        raise EnvironmentFault("E511", f"{key} does not match its checksum", remedy="Run it again; if it stays so, store it again.")


def _is(file: Path, client: "S3Client", bucket: str, key: str, about: Any) -> bool:
    """Is a file what the store's ETag says: the MD5 of its bytes, or of its parts' MD5s? It says neither where the store encrypts."""
    etag, _, parts = about["ETag"].strip('"').partition("-")
    if about.get("ServerSideEncryption", "AES256") != "AES256":
        return True
    part_bytes = client.head_object(Bucket=bucket, Key=key, PartNumber=1)["ContentLength"] if parts else about["ContentLength"]
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
