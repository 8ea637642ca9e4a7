"""Atomic publish of folders in S3: each version has its own prefix, and a small pointer object names the current version.

    ADDRESS/versions/DIGEST/…   the files; DIGEST is `atomic_publish.digest` of the folder, against which downloads are checked
    ADDRESS/finished/DIGEST     empty marker: the upload of that version is complete
    ADDRESS/current             JSON pointer: digest of the current version, and start time of the run that published it

A finished version is immutable and never removed here: services refer to it directly. Orphans of a killed upload are removed by the next
upload to the address, if they are older than a day; a terminated upload removes its own.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io.atomic_publish import DIGEST
from lodestar.io.run_order import check_run_order, is_newer, parse_started_at
from lodestar.io.s3_objects import Location, entries, get_object, put_object, remove_objects, server_time, swap_object, upload_file
from lodestar.schema.time_units import DAY_S

VERSIONS, FINISHED, CURRENT = "versions", "finished", "current"
UNFINISHED_S = DAY_S
ATTEMPTS = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """Pointer to the current version; `started_at` is the start time (ISO 8601) of the run that published it, or empty if unknown."""

    digest: str
    started_at: str = ""

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.digest):
            raise ValueError(f"{self.digest!r} is not a sha256 digest")
        if self.started_at:
            parse_started_at(self.started_at)


def pinned_digest(location: Location) -> str:
    """Digest of a versioned address (ADDRESS/versions/DIGEST); empty for any other address."""
    parts = location.prefix.split("/")
    return parts[-1] if len(parts) > 1 and parts[-2] == VERSIONS and DIGEST.fullmatch(parts[-1]) else ""


def version(location: Location, digest: str) -> Location:
    """Versioned location of a digest: ADDRESS/versions/DIGEST."""
    return location.below(f"{VERSIONS}/{digest}")


def current(location: Location) -> Pointer | None:
    """Pointer at an address; None if nothing was published there. Raises EnvironmentFault E563 if the object is not a pointer."""
    found = get_object(location.below(CURRENT))
    return _pointer(location, found.content) if found else None


def publish(files: Mapping[str, Path], location: Location, pointer: Pointer) -> Location:
    """Upload files as the pointer's version and make it current; returns the versioned location.

    Raises EnvironmentFault E516 if others remove the uploaded objects, E564 if others keep changing the pointer, E565 if a run that started
    later has published another version.
    """
    target, marker = version(location, pointer.digest), location.below(f"{FINISHED}/{pointer.digest}")
    refuse_older(location, pointer)
    _remove_unfinished(location)
    try:
        _upload(files, target, marker)
    except (SystemExit, KeyboardInterrupt):
        if get_object(marker) is None:
            remove_objects(target)
        raise
    _make_current(location, pointer)
    return target


def _upload(files: Mapping[str, Path], target: Location, marker: Location) -> None:
    for _ in range(ATTEMPTS):
        there = entries(target) if get_object(marker) else {}
        for name, file in files.items():
            upload_file(target.below(name), file, there.get(name))
        put_object(marker, b"")
        if files.keys() <= entries(target).keys():  # else another upload removed them as orphans meanwhile
            return
    raise EnvironmentFault("E516", f"objects uploaded to {target} disappear", remedy="Find out which process removes objects there.")


def is_finished(location: Location) -> bool:
    """Whether the upload of the version at a versioned address was completed."""
    parts = location.prefix.split("/")
    address = Location(client=location.client, bucket=location.bucket, prefix="/".join(parts[:-2]))
    return get_object(address.below(f"{FINISHED}/{parts[-1]}")) is not None


def _make_current(location: Location, pointer: Pointer) -> None:
    for _ in range(ATTEMPTS):
        found = get_object(location.below(CURRENT))
        if found:
            held = _pointer(location, found.content)
            _check_order(location, held, pointer)
            if held.digest == pointer.digest and (is_newer(held.started_at, pointer.started_at) or not pointer.started_at):
                return  # the pointer already has this version with the newest start time
        if swap_object(location.below(CURRENT), json.dumps(asdict(pointer)).encode(), expected=found):
            return
    raise EnvironmentFault("E564", f"other runs keep publishing to {location}", remedy="Publish again when they have ended.")


def refuse_older(location: Location, pointer: Pointer) -> None:
    """Raise EnvironmentFault E565 if a run that started later has published another version."""
    found = current(location)
    if found:
        _check_order(location, found, pointer)


def _check_order(location: Location, published: Pointer, pointer: Pointer) -> None:
    if published.digest != pointer.digest:
        check_run_order(location, published.started_at, pointer.started_at)


def _pointer(location: Location, content: bytes) -> Pointer:
    try:
        return Pointer(**json.loads(content))
    except (ValueError, TypeError, RecursionError, UsageError) as error:
        message = f"{location.below(CURRENT)} is not a pointer to the current version"
        raise EnvironmentFault("E563", message, remedy="Move it away and publish again.") from error


def _remove_unfinished(location: Location) -> None:
    """Remove orphans of old uploads: unfinished versions and multipart uploads; without permission they stay."""
    from botocore.exceptions import ClientError

    try:
        before = server_time(location) - timedelta(seconds=UNFINISHED_S)
        for digest in _unfinished(location, before):
            logger.info("removing the unfinished upload at %s", version(location, digest))
            remove_objects(version(location, digest))
        _abort_uploads(location.below(VERSIONS), before)
    except (ClientError, EnvironmentFault) as error:
        logger.warning("unfinished uploads at %s cannot be removed: %s", location, error)


def _unfinished(location: Location, before: datetime) -> Iterator[str]:
    """Digests of versions that are not finished and were last written before a time."""
    newest: dict[str, datetime] = {}
    for name, stored in entries(location.below(VERSIONS)).items():
        digest = name.partition("/")[0]
        newest[digest] = max(stored.modified, newest.get(digest, stored.modified))
    for digest in [digest for digest, modified in newest.items() if modified < before and DIGEST.fullmatch(digest)]:
        found = current(location)
        is_complete = (found and found.digest == digest) or get_object(location.below(f"{FINISHED}/{digest}"))
        if not is_complete and all(stored.modified < before for stored in entries(version(location, digest)).values()):
            yield digest


def _abort_uploads(location: Location, before: datetime) -> None:
    pages = location.client.get_paginator("list_multipart_uploads").paginate(Bucket=location.bucket, Prefix=f"{location.prefix}/")
    for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
        if upload["Initiated"] < before:
            location.client.abort_multipart_upload(Bucket=location.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
