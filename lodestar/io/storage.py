"""Storage: upload, download and fetch between local paths and `s3://` addresses, with atomic publish and safe file names.

Credentials and endpoint come from the usual AWS environment (AWS_ENDPOINT_URL for a server that is not Amazon's).
"""

import hashlib
import time
from collections.abc import Collection
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from lodestar.errors import EnvironmentFault
from lodestar.io.atomic_publish import (
    digest,
    exclusive,
    lock_folder,
    publish_file,
    publish_files,
    publish_folder,
    refuse_other_file,
    refuse_other_folder,
)
from lodestar.io.folder_locks import FolderHandle, open_handle, try_lock
from lodestar.io.fsync import make_synced_folder, sync_folder
from lodestar.io.s3 import s3_versions
from lodestar.io.s3.s3_faults import coded
from lodestar.io.s3.s3_objects import (
    SCHEME,
    Location,
    Stored,
    check_address,
    entries,
    entry,
    fetch_object,
    get_object,
    locate,
    put_object,
    remove_objects,
    status_of,
)
from lodestar.io.safe_paths import below, matches, plain_files
from lodestar.progress import log_event

__all__ = [
    "FolderHandle",
    "check_address",
    "digest",
    "download",
    "ensure_local",
    "exclusive",
    "fetch",
    "get",
    "is_pattern",
    "is_remote",
    "listed",
    "lock_folder",
    "make_synced_folder",
    "open_handle",
    "publish_file",
    "publish_files",
    "publish_folder",
    "put",
    "refuse_other_file",
    "refuse_other_folder",
    "remove",
    "resolve",
    "sync_folder",
    "try_lock",
    "upload",
]
WILDCARDS = "*?["
WAIT_S, POLL_S = 600.0, 1.0  # for the download of another process
_CHECK = "Check the address and the run that writes it."


def is_remote(address: str) -> bool:
    """Whether an address is in S3 (`s3://`)."""
    return address.startswith(SCHEME)


def upload(folder: Path, address: str, started_at: str = "") -> str:
    """Publish a folder atomically at an `s3://` address; returns its immutable versioned address, ADDRESS/versions/DIGEST.

    Readers of ADDRESS get the previous version until the upload is complete. `started_at` is the start time of the run (ISO 8601).
    Uploading the same folder again changes nothing. Raises EnvironmentFault E565 if a run that started later has published another version,
    E566 if the folder is empty, E560 to E562 for file names or links that cannot be published, E569 if the store refuses.
    """
    held = open_handle(folder)
    files = {file.relative_to(held.path).as_posix(): file for file in plain_files(held.path, str(folder))}
    below(folder, files, str(folder))
    if not files:
        raise EnvironmentFault("E566", f"there is no file in {folder} to publish", remedy="Run the step that writes it again.")
    pointer = s3_versions.Pointer(digest=digest(held.path), started_at=started_at)
    with coded(address):
        return str(s3_versions.publish(files, locate(address), pointer))


def refuse_older(folder: Path, address: str, started_at: str) -> None:
    """Raise EnvironmentFault E565 if a run that started later has published another version; an early check for `upload`."""
    with coded(address):
        s3_versions.refuse_older(locate(address), s3_versions.Pointer(digest=digest(folder), started_at=started_at))


def download(address: str, target: Path, digest: str = "") -> Path:
    """Download a folder from an `s3://` address into `target`, atomically and checked against its digest; returns `target`.

    The address is one that `upload` was given (its current version), one that it returned, or, with a `digest`, any prefix. Raises
    EnvironmentFault E510 if nothing is there, E511 if the digest does not match, E512 if the upload was not finished, E560 and E561 if a
    key cannot be a file name.
    """
    with coded(address):
        _download(*_version(address, digest), target)
        return target


def _version(address: str, expected: str = "") -> tuple[Location, str]:
    """Where the objects of an address lie, and the digest of the folder that they are."""
    location = locate(address)
    if found := expected or s3_versions.pinned_digest(location):
        return location, found
    pointer = s3_versions.current(location)
    if pointer is None:
        raise _unfinished(address) if entries(location) else _not_found(address)
    return s3_versions.version(location, pointer.digest), pointer.digest


def _download(location: Location, expected: str, target: Path) -> None:
    names = list(entries(location))
    if not names:
        raise _not_found(str(location))
    with publish_folder(target) as work:
        for name, file in below(work, names, str(location)).items():
            file.parent.mkdir(parents=True, exist_ok=True)
            source = location.below(name)
            source.client.download_file(source.bucket, source.prefix, str(file))
        if digest(work) != expected:
            if s3_versions.pinned_digest(location) and not s3_versions.is_finished(location):
                raise _unfinished(str(location))
            raise EnvironmentFault("E511", f"{location} does not match its digest", remedy="Publish it again.")


def resolve(address: str) -> str:
    """The immutable versioned address of the current version at an address that `upload` was given; any other address unchanged."""
    if not is_remote(address):
        return address
    with coded(address):
        location = locate(address)
        pointer = None if s3_versions.pinned_digest(location) else s3_versions.current(location)
        return str(s3_versions.version(location, pointer.digest)) if pointer else address


def remove(address: str) -> None:
    """Remove all objects below an `s3://` address, all versions included."""
    with coded(address):
        remove_objects(locate(address))


def fetch(address: str, folder: Path) -> Path:
    """Download an object, all objects under a prefix, or those that match a wildcard, into a folder.

    Returns the local path; for a wildcard, the same wildcard below the folder. Interrupted downloads resume. Each object is checked against
    the store's checksum (E511), and a folder published by `upload` against its digest, as in `download`.
    """
    with coded(address):
        return _fetch(locate(address), address, folder)


def _fetch(location: Location, address: str, folder: Path) -> Path:
    if is_pattern(location.prefix):
        root, pattern = _split_pattern(location)
        return _fetch_objects(root, [name for name in entries(root) if matches(name, pattern)], folder / _name(root), address) / pattern
    target = folder / _name(location)
    if s3_versions.pinned_digest(location):
        return download(address, target)
    names = list(entries(location))
    if _is_published(names):
        return download(address, target)
    return _fetch_objects(location, names, target, address) if names or not location.prefix else _fetch_object(location, target, address)


def listed(address: str, folder: Path) -> tuple[Path, dict[Path, tuple[str, Stored]]]:
    """List without download: the path that `fetch` would return, and for each file the object's address and listing.

    Raises EnvironmentFault E510 if nothing is there, E569 if the store refuses.
    """
    with coded(address):
        return _list(locate(address), address, folder)


def _list(location: Location, address: str, folder: Path) -> tuple[Path, dict[Path, tuple[str, Stored]]]:
    if is_pattern(location.prefix):
        root, pattern = _split_pattern(location)
        found = {name: stored for name, stored in entries(root).items() if matches(name, pattern)}
        target, where = folder / _name(root), folder / _name(root) / pattern
    else:
        root, target = location, folder / _name(location)
        found, where = dict(entries(root)), target
        if _is_published(found):
            root = locate(resolve(address))
            found = dict(entries(root))
    if not found and (one := location.prefix and entry(location)):
        return where, {where: (str(location), one)}
    if not found:
        raise _not_found(address)
    return where, {file: (str(root.below(name)), found[name]) for name, file in below(target, found, address).items()}


def _is_published(names: Collection[str]) -> bool:
    """Whether objects below an address are what `upload` writes; other data may have a file that is called `current`."""
    return s3_versions.CURRENT in names and any(name.startswith(f"{s3_versions.VERSIONS}/") for name in names)


def _split_pattern(location: Location) -> tuple[Location, str]:
    """The prefix above the first wildcard, and the pattern of names below it."""
    prefix = location.prefix
    start = prefix[: min(prefix.find(wildcard) for wildcard in WILDCARDS if wildcard in prefix)].rpartition("/")[0]
    return Location(client=location.client, bucket=location.bucket, prefix=start), prefix.removeprefix(start).lstrip("/")


def _name(location: Location) -> str:
    return PurePosixPath(location.prefix).name or location.bucket


def is_pattern(path: str) -> bool:
    """Whether a path has a wildcard (`*`, `?` or `[`)."""
    return any(wildcard in path for wildcard in WILDCARDS)


def _fetch_objects(root: Location, names: list[str], target: Path, address: str) -> Path:
    if not names:
        raise _not_found(address)
    for name, file in below(target, names, address).items():
        _fetch_object(root.below(name), file, address)
    return target


def _fetch_object(location: Location, file: Path, address: str) -> Path:
    from botocore.exceptions import ClientError

    try:
        fetch_object(location, file)
    except ClientError as error:
        if status_of(error) == HTTPStatus.NOT_FOUND:
            raise _not_found(address) from error
        raise
    return file


def put(content: bytes, address: str) -> None:
    """Write one object or one file atomically."""
    if is_remote(address):
        with coded(address):
            put_object(locate(address), content)
        return
    with publish_file(Path(address)) as work:
        work.write_bytes(content)


def get(address: str) -> bytes | None:
    """Content of one object or one file; None if it does not exist."""
    if not is_remote(address):
        return Path(address).read_bytes() if Path(address).is_file() else None
    with coded(address):
        found = get_object(locate(address))
        return found.content if found else None


def ensure_local(address: str, cache: Path) -> Path:
    """The address as a local path; an `s3://` address is downloaded into `cache` as in `download`, unless that version is there.

    While another process downloads it there, this one waits, and says so; EnvironmentFault E513 after `WAIT_S` seconds.
    """
    if not is_remote(address):
        return Path(address)
    target = cache / hashlib.sha256(address.encode()).hexdigest()[:16]
    is_waiting, deadline_s = False, time.monotonic() + WAIT_S
    while True:
        try:
            with coded(address):
                location, expected = _version(address)
                if not target.is_dir() or digest(target) != expected:
                    _download(location, expected, target)
        except EnvironmentFault as fault:
            if fault.code != "E513" or time.monotonic() >= deadline_s:
                raise
        else:
            return target
        if not is_waiting:
            log_event("waiting", reason=f"another process downloads {address}", limit_s=WAIT_S)
            is_waiting = True
        time.sleep(POLL_S)


def _not_found(address: str) -> EnvironmentFault:
    return EnvironmentFault("E510", f"nothing is stored at {address}", remedy=_CHECK)


def _unfinished(address: str) -> EnvironmentFault:
    return EnvironmentFault("E512", f"the upload to {address} was never finished", remedy="Run the step that writes it again.")
