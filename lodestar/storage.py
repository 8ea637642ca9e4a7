"""One way to files: a local path or an `s3://` address; nothing is ever seen half-written.

Credentials and endpoint come from the usual AWS environment (AWS_ENDPOINT_URL for a server that is not Amazon's).
"""

import contextlib
import errno
import fcntl
import fnmatch
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from lodestar.errors import EnvironmentFault
from lodestar.s3_objects import fetch_object, status_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SCHEME, WILDCARDS = "s3://", "*?["
CONNECT_S, READ_S = 10, 60
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# Written last: a remote folder without it was never finished.
COMPLETE = "_SUCCESS"


def is_remote(address: str) -> bool:
    return address.startswith(SCHEME)


@contextmanager
def publish_folder(target: Path) -> Iterator[Path]:
    """A fresh folder to fill; on a clean exit it becomes `target` at once, on an error it is gone."""
    with scratch(target) as work:
        made = work / target.name
        made.mkdir()
        yield made
        _replace_folder(made, target, work)


@contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A folder beside `target` to work in, gone at the end; what a process that was killed left there goes as well."""
    with _room(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*.work"):
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _held(left):
            shutil.rmtree(left, ignore_errors=True)
    with _room(target):
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".work", dir=target.parent))
    try:
        with _held(work), _room(target):
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _room(target: Path) -> Iterator[None]:
    """A disk that takes no more is an EnvironmentFault E506."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        message = f"{target} cannot be written ({error.strerror})"
        raise EnvironmentFault("E506", message, remedy="Make room there; what was begun is gone, and the same command makes it.") from error


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; EnvironmentFault E513 where another one has it."""
    target.mkdir(parents=True, exist_ok=True)
    try:
        with _held(target):
            yield
    except BlockingIOError as error:
        raise EnvironmentFault("E513", f"another process writes to {target}", remedy="Wait until it has ended.") from error


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of a folder, which the system takes back from a process that is gone; BlockingIOError where another one has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def publish_file(target: Path) -> Iterator[Path]:
    """A path to write; on a clean exit it becomes `target` at once, on an error it is gone."""
    work = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _room(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield work
            _sync(work)
            work.replace(target)
    finally:
        work.unlink(missing_ok=True)


def upload(folder: Path, address: str) -> None:
    """Copy every file of a folder under an `s3://` address, the completion mark last."""
    client, (bucket, prefix) = _client(), _split(address)
    for file in _files(folder):
        client.upload_file(str(file), bucket, f"{prefix}/{file.relative_to(folder).as_posix()}")
    client.put_object(Bucket=bucket, Key=f"{prefix}/{COMPLETE}", Body=digest(folder).encode())


def download(address: str, target: Path) -> Path:
    """Bring everything under a finished `s3://` address to a local folder, checked against its digest."""
    client, (bucket, prefix) = _client(), _split(address)
    mark = f"{prefix}/{COMPLETE}"
    keys = list(_keys(client, bucket, prefix))
    if not keys:
        raise EnvironmentFault("E510", f"nothing is stored at {address}", remedy="Check the address and the run that writes it.")
    if mark not in keys:
        raise EnvironmentFault("E512", f"{address} was never finished", remedy="Run again what writes it.")
    keys.remove(mark)
    expected = client.get_object(Bucket=bucket, Key=mark)["Body"].read().decode()
    with publish_folder(target) as work:
        for key in keys:
            file = work / key[len(prefix) + 1 :]
            file.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, key, str(file))
        if digest(work) != expected:
            raise EnvironmentFault("E511", f"{address} does not match its digest", remedy="Publish it again.")
    return target


def fetch(address: str, folder: Path) -> Path:
    """Bring an object, all objects under a prefix, or those that a wildcard names, into a folder; they carry no completion mark.

    The path of what came; of a wildcard, the same wildcard there.
    What a call that was killed has brought is not brought again. Each object is checked against the checksum that the store keeps.
    """
    client, (bucket, prefix) = _client(), _split(address)
    if is_pattern(prefix):
        start = prefix[: min(prefix.find(mark) for mark in WILDCARDS if mark in prefix)].rpartition("/")[0]
        keys = [key for key in _keys(client, bucket, start) if _matches(key, prefix)]
        target = folder / (Path(start).name or bucket)
        files = {key: target / key.removeprefix(start).lstrip("/") for key in keys}
        return _fetched(client, bucket, files, address, target / prefix.removeprefix(start).lstrip("/"))
    keys = list(_keys(client, bucket, prefix))
    if f"{prefix}/{COMPLETE}" in keys:
        return download(address, folder / Path(prefix).name)
    if not keys:
        target = folder / (Path(prefix).name or "object")
        return _fetched(client, bucket, {prefix: target}, address, target)
    target = folder / Path(prefix or bucket).name
    files = {key: target / key.removeprefix(prefix).lstrip("/") for key in keys if not key.endswith("/")}
    return _fetched(client, bucket, files, address, target)


def is_pattern(path: str) -> bool:
    return any(mark in path for mark in WILDCARDS)


def _matches(key: str, pattern: str) -> bool:
    """As a shell does it: a wildcard does not reach into another folder."""
    parts, wanted = key.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _fetched(client: "S3Client", bucket: str, files: Mapping[str, Path], address: str, target: Path) -> Path:
    from botocore.exceptions import ClientError

    if not files:
        raise EnvironmentFault("E510", f"nothing is stored at {address}", remedy="Check the address and the run that writes it.")
    for key, file in files.items():
        try:
            fetch_object(client, bucket, key, file)
        except ClientError as error:
            message = f"nothing is stored at {address}" if status_of(error) == HTTPStatus.NOT_FOUND else f"{key} cannot be read ({error})"
            raise EnvironmentFault("E510", message, remedy="Check the address and the run that writes it.") from error
    return target


def put(content: bytes, address: str) -> None:
    """Write one object or one file, whole or not at all."""
    if is_remote(address):
        bucket, key = _split(address)
        _client().put_object(Bucket=bucket, Key=key, Body=content)
        return
    with publish_file(Path(address)) as work:
        work.write_bytes(content)


def get(address: str) -> bytes | None:
    """One object or one file, None where there is none."""
    if not is_remote(address):
        return Path(address).read_bytes() if Path(address).is_file() else None
    bucket, key = _split(address)
    client = _client()
    try:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None


def local(address: str, cache: Path) -> Path:
    """The address as a local path; a remote one is downloaded into `cache` first."""
    return download(address, cache / hashlib.sha256(address.encode()).hexdigest()[:16]) if is_remote(address) else Path(address)


def digest(folder: Path) -> str:
    """sha256 over names and contents of all files under a folder, in name order."""
    total = hashlib.sha256()
    for file in _files(folder):
        total.update(file.relative_to(folder).as_posix().encode() + b"\0")
        with file.open("rb") as content:
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != COMPLETE)


def _replace_folder(made: Path, target: Path, work: Path) -> None:
    """Put a folder where another one may be, which is then in `work`."""
    made.chmod(0o755)
    if target.exists():
        target.replace(work / "old")
    made.replace(target)


def _sync(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _split(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    return bucket, key.rstrip("/")


def _client() -> "S3Client":
    """One for each store and account that the environment names; it may be used by several threads."""
    return _made(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_ACCESS_KEY_ID"))


@functools.cache
def _made(_endpoint: str | None, _account: str | None) -> "S3Client":
    import boto3
    from botocore.config import Config

    limits = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=CONNECT_S, read_timeout=READ_S)
    return boto3.client("s3", config=limits)


def _keys(client: "S3Client", bucket: str, prefix: str) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix and f"{prefix}/"):
        yield from (entry["Key"] for entry in page.get("Contents", ()))
