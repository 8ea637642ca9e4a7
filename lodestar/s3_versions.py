"""Folders in an S3 store that are replaced at once: each version under a prefix of its own, and a small object that names the current one.

    ADDRESS/versions/DIGEST/…   the files; DIGEST is `publication.digest` of the folder, so what has come can be checked
    ADDRESS/finished/DIGEST     empty: that version is whole
    ADDRESS/current             JSON: the digest that is current, and when the run started that made it

A version that was finished is never changed nor removed here: services name it directly. What a killed upload left is removed by the
next upload to the address, when nobody has gone on with it for a day; one that is terminated removes it itself.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from lodestar.errors import EnvironmentFault
from lodestar.run_order import check_run_order, is_newer, parse_started_at
from lodestar.s3_objects import (
    Location,
    entries,
    get_object,
    put_object,
    remove_objects,
    server_time,
    swap_object,
    upload_file,
)

VERSIONS, FINISHED, CURRENT = "versions", "finished", "current"
UNFINISHED_S = 86_400.0
ATTEMPTS = 10
DIGEST = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pointer:
    """Which version is current; `started_at` is when the run that published it began, ISO 8601, empty where it did not say."""

    digest: str
    started_at: str = ""

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.digest):
            raise ValueError(f"{self.digest!r} is no digest")
        if self.started_at:
            parse_started_at(self.started_at)


def pinned(location: Location) -> str:
    """The digest that a versioned address names, empty where it is none."""
    parts = location.prefix.split("/")
    return parts[-1] if len(parts) > 1 and parts[-2] == VERSIONS and DIGEST.fullmatch(parts[-1]) else ""


def version(location: Location, digest: str) -> Location:
    return location.below(f"{VERSIONS}/{digest}")


def current(location: Location) -> Pointer | None:
    """What is current at an address, None where nothing was published there; EnvironmentFault E563 where the object is no pointer."""
    found = get_object(location.below(CURRENT))
    return _pointer(location, found.content) if found else None


def publish(files: Mapping[str, Path], location: Location, pointer: Pointer) -> Location:
    """Bring files up as the pointer's version and make it current.

    EnvironmentFault E516 where others remove what is brought, E565 where a later run has published another.
    """
    target, mark = version(location, pointer.digest), location.below(f"{FINISHED}/{pointer.digest}")
    refuse_older(location, pointer)
    _remove_unfinished(location)
    try:
        _bring_up(files, target, mark)
    except (SystemExit, KeyboardInterrupt):
        if get_object(mark) is None:
            remove_objects(target)
        raise
    _make_current(location, pointer)
    return target


def _bring_up(files: Mapping[str, Path], target: Location, mark: Location) -> None:
    for _ in range(ATTEMPTS):
        there = entries(target) if get_object(mark) else {}
        for name, file in files.items():
            upload_file(target.below(name), file, there.get(name))
        put_object(mark, b"")
        if files.keys() <= entries(target).keys():  # or what was unfinished was removed while it was being finished
            return
    raise EnvironmentFault("E516", f"{target} does not keep what is brought there", remedy="See who else removes objects there.")


def is_finished(location: Location) -> bool:
    """Was the version at a versioned address published whole?"""
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
                return  # it is current already, and so is the time of the newest run that has made it
        if swap_object(location.below(CURRENT), json.dumps(asdict(pointer)).encode(), expected=found):
            return
    raise EnvironmentFault("E564", f"others publish to {location} all the time", remedy="Publish again, when they have ended.")


def refuse_older(location: Location, pointer: Pointer) -> None:
    """EnvironmentFault E565 where a run that started later has published another version."""
    found = current(location)
    if found:
        _check_order(location, found, pointer)


def _check_order(location: Location, found: Pointer, pointer: Pointer) -> None:
    if found.digest != pointer.digest:
        check_run_order(location, found.started_at, pointer.started_at)


def _pointer(location: Location, content: bytes) -> Pointer:
    try:
        return Pointer(**json.loads(content))
    except (ValueError, TypeError) as error:
        message = f"{location.below(CURRENT)} does not say which version is current"
        raise EnvironmentFault("E563", message, remedy="Move it away, and publish again.") from error


def _remove_unfinished(location: Location) -> None:
    """Remove what nobody finished, and parts of objects that were not; a store that does not let us keeps them."""
    from botocore.exceptions import ClientError

    try:
        before = server_time(location) - timedelta(seconds=UNFINISHED_S)
        for digest in _unfinished(location, before):
            logger.info("removing what was not finished at %s", version(location, digest))
            remove_objects(version(location, digest))
        _abort_uploads(location.below(VERSIONS), before)
    except (ClientError, EnvironmentFault) as error:
        logger.warning("what was not finished at %s stays: %s", location, error)


def _unfinished(location: Location, before: datetime) -> Iterator[str]:
    """Versions that are not whole and that nobody has written to since."""
    newest: dict[str, datetime] = {}
    for name, stored in entries(location.below(VERSIONS)).items():
        digest = name.partition("/")[0]
        newest[digest] = max(stored.modified, newest.get(digest, stored.modified))
    for digest in [digest for digest, modified in newest.items() if modified < before and DIGEST.fullmatch(digest)]:
        found = current(location)
        is_whole = (found and found.digest == digest) or get_object(location.below(f"{FINISHED}/{digest}"))
        if not is_whole and all(stored.modified < before for stored in entries(version(location, digest)).values()):
            yield digest


def _abort_uploads(location: Location, before: datetime) -> None:
    pages = location.client.get_paginator("list_multipart_uploads").paginate(Bucket=location.bucket, Prefix=f"{location.prefix}/")
    for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
        if upload["Initiated"] < before:
            location.client.abort_multipart_upload(Bucket=location.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
