"""One way to files: a local path or an `s3://` address; nothing is ever seen half-written, and no name leads out of its folder.

Credentials and endpoint come from the usual AWS environment (AWS_ENDPOINT_URL for a server that is not Amazon's).
"""

import fnmatch
import hashlib
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from lodestar import s3_versions
from lodestar.durable import make_folder, sync_folder
from lodestar.errors import EnvironmentFault
from lodestar.file_names import below, plain_files
from lodestar.folder_locks import Held, hold, unread
from lodestar.publication import digest, exclusive, locked, publish_file, publish_folder
from lodestar.s3_objects import (
    SCHEME,
    Location,
    Stored,
    coded,
    entries,
    entry,
    fetch_object,
    get_object,
    locate,
    put_object,
    remove_objects,
    status_of,
)

__all__ = [
    "Held",
    "digest",
    "download",
    "exclusive",
    "fetch",
    "get",
    "hold",
    "is_pattern",
    "is_remote",
    "listed",
    "local",
    "locked",
    "make_folder",
    "publish_file",
    "publish_folder",
    "put",
    "remove",
    "resolve",
    "sync_folder",
    "unread",
    "upload",
]
WILDCARDS = "*?["
_CHECK = "Check the address and the run that writes it."


def is_remote(address: str) -> bool:
    return address.startswith(SCHEME)


def upload(folder: Path, address: str, started_at: str = "") -> str:
    """Publish a folder at an `s3://` address: its immutable versioned address, ADDRESS/versions/DIGEST, which is current from then on.

    Readers of ADDRESS have the version before until all of this one is there. `started_at` is when the run began that made it (ISO 8601):
    EnvironmentFault E565 where one that began later has published another. The same folder again changes nothing, whichever run brings it.
    """
    held = hold(folder)
    files = {file.relative_to(held.path).as_posix(): file for file in plain_files(held.path, str(folder))}
    below(folder, files, str(folder))
    if not files:
        raise EnvironmentFault("E566", f"there is no file in {folder} to publish", remedy="Run again what fills it.")
    pointer = s3_versions.Pointer(digest=digest(held.path), started_at=started_at)
    with coded(address):
        return str(s3_versions.publish(files, locate(address), pointer))


def refuse_older(folder: Path, address: str, started_at: str) -> None:
    """EnvironmentFault E565 where a run that began later has published another folder there: `upload` would refuse this one, at its end."""
    with coded(address):
        s3_versions.refuse_older(locate(address), s3_versions.Pointer(digest=digest(folder), started_at=started_at))


def download(address: str, target: Path, digest: str = "") -> Path:
    """Publish in a local folder what is stored at an `s3://` address, checked against its digest; the path of the folder.

    The address is one that `upload` was given (then it is what is current there), one that it returned, or, where a `digest` is given, of
    objects that anyone has put there. EnvironmentFault E510 where nothing is there, E511 where it is not what the digest says, E512 where
    it was not finished, E560 and E561 where a key cannot be a file's name.
    """
    with coded(address):
        location = locate(address)
        expected = digest or s3_versions.pinned(location)
        if not expected:
            pointer = s3_versions.current(location)
            if pointer is None:
                raise _unfinished(address) if entries(location) else _nothing(address)
            location, expected = s3_versions.version(location, pointer.digest), pointer.digest
        _bring(location, target, expected)
        return target


def _bring(location: Location, target: Path, expected: str) -> None:
    names = list(entries(location))
    if not names:
        raise _nothing(str(location))
    with publish_folder(target) as work:
        for name, file in below(work, names, str(location)).items():
            file.parent.mkdir(parents=True, exist_ok=True)
            place = location.below(name)
            place.client.download_file(place.bucket, place.prefix, str(file))
        if digest(work) != expected:
            if s3_versions.pinned(location) and not s3_versions.is_finished(location):
                raise _unfinished(str(location))
            raise EnvironmentFault("E511", f"{location} does not match its digest", remedy="Publish it again.")


def resolve(address: str) -> str:
    """The immutable address of what is current at an address that `upload` was given; any other as it is."""
    if not is_remote(address):
        return address
    with coded(address):
        location = locate(address)
        pointer = None if s3_versions.pinned(location) else s3_versions.current(location)
        return str(s3_versions.version(location, pointer.digest)) if pointer else address


def remove(address: str) -> None:
    """Remove all that is stored below an `s3://` address, versions and all."""
    with coded(address):
        remove_objects(locate(address))


def fetch(address: str, folder: Path) -> Path:
    """Bring an object, all objects under a prefix, or those that a wildcard names, into a folder; nobody need have published them.

    The path of what came; of a wildcard, the same wildcard there.
    What a call that was killed has brought is not brought again. Each object is checked against the checksum that the store keeps, and
    what `upload` has published against its digest, as `download` does it.
    """
    with coded(address):
        return _fetch(locate(address), address, folder)


def _fetch(place: Location, address: str, folder: Path) -> Path:
    if is_pattern(place.prefix):
        root, wanted = _root(place)
        return _fetched(root, [name for name in entries(root) if _matches(name, wanted)], folder / _name(root), address) / wanted
    target = folder / _name(place)
    if s3_versions.pinned(place):
        return download(address, target)
    names = list(entries(place))
    if s3_versions.CURRENT in names and any(name.startswith(f"{s3_versions.VERSIONS}/") for name in names):
        return download(address, target)
    return _fetched(place, names, target, address) if names or not place.prefix else _fetched_object(place, target, address)


def listed(address: str, folder: Path) -> tuple[Path, dict[Path, tuple[str, Stored]]]:
    """What `fetch` would return, and for each file that it would bring the object's address and how it is listed; nothing is brought.

    EnvironmentFault E510 where there is nothing, E569 where the store does not say.
    """
    with coded(address):
        return _listed(locate(address), address, folder)


def _listed(place: Location, address: str, folder: Path) -> tuple[Path, dict[Path, tuple[str, Stored]]]:
    if is_pattern(place.prefix):
        root, wanted = _root(place)
        found = {name: stored for name, stored in entries(root).items() if _matches(name, wanted)}
        target, where = folder / _name(root), folder / _name(root) / wanted
    else:
        root, target = locate(resolve(address)), folder / _name(place)
        found, where = dict(entries(root)), target
    if not found and (one := place.prefix and entry(place)):
        return where, {where: (str(place), one)}
    if not found:
        raise _nothing(address)
    return where, {file: (str(root.below(name)), found[name]) for name, file in below(target, found, address).items()}


def _root(place: Location) -> tuple[Location, str]:
    """The folder above the first wildcard, and the pattern of names below it."""
    start = place.prefix[: min(place.prefix.find(mark) for mark in WILDCARDS if mark in place.prefix)].rpartition("/")[0]
    return Location(client=place.client, bucket=place.bucket, prefix=start), place.prefix.removeprefix(start).lstrip("/")


def _name(place: Location) -> str:
    return PurePosixPath(place.prefix).name or place.bucket


def is_pattern(path: str) -> bool:
    return any(mark in path for mark in WILDCARDS)


def _matches(name: str, pattern: str) -> bool:
    """As a shell does it: a wildcard does not reach into another folder."""
    parts, wanted = name.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _fetched(root: Location, names: list[str], target: Path, address: str) -> Path:
    if not names:
        raise _nothing(address)
    for name, file in below(target, names, address).items():
        _fetched_object(root.below(name), file, address)
    return target


def _fetched_object(place: Location, file: Path, address: str) -> Path:
    from botocore.exceptions import ClientError

    try:
        fetch_object(place, file)
    except ClientError as error:
        if status_of(error) == HTTPStatus.NOT_FOUND:
            raise _nothing(address) from error
        raise
    return file


def put(content: bytes, address: str) -> None:
    """Write one object or one file, whole or not at all."""
    if is_remote(address):
        with coded(address):
            put_object(locate(address), content)
        return
    with publish_file(Path(address)) as work:
        work.write_bytes(content)


def get(address: str) -> bytes | None:
    """One object or one file, None where there is none."""
    if not is_remote(address):
        return Path(address).read_bytes() if Path(address).is_file() else None
    with coded(address):
        found = get_object(locate(address))
        return found.content if found else None


def local(address: str, cache: Path) -> Path:
    """The address as a local path; a remote one is downloaded into `cache` first."""
    return download(address, cache / hashlib.sha256(address.encode()).hexdigest()[:16]) if is_remote(address) else Path(address)


def _nothing(address: str) -> EnvironmentFault:
    return EnvironmentFault("E510", f"nothing is stored at {address}", remedy=_CHECK)


def _unfinished(address: str) -> EnvironmentFault:
    return EnvironmentFault("E512", f"{address} was never finished", remedy="Run again what writes it.")
