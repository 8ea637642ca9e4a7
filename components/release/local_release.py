"""Local release: a bundle and its online store (SQLite), which become current together by one atomic rename.

    DESTINATION/releases/GENERATION-BUNDLE/bundle, online, release.json
    DESTINATION/current -> releases/GENERATION-BUNDLE

A serving process keeps the release that it started with, so the previous release is retained.
"""

import fcntl
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lodestar.bundle.bundle import load
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io.atomic_publish import NO_SPACE_ERRNOS
from lodestar.io.folder_locks import lock, remove_unlocked
from lodestar.io.fsync import make_synced_folder, sync_all, sync_folder
from lodestar.io.run_order import check_run_order, is_newer, parse_started_at

RELEASES, CURRENT, METADATA = "releases", "current", "release.json"
BUNDLE, ONLINE, STARTED_AT = "bundle", "online", "started_at"
NUM_RETAINED = 2  # the current release and the previous one
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


def release_locally(bundle: Path, features: Path, destination: Path, started_at: str) -> str:
    """Release a bundle with the online store of its features in a local folder, atomically; returns the bundle's path in the release.

    Releasing the current bundle again changes nothing. Raises EnvironmentFault E565 if a run that started later has released another one,
    E563 if `current` is not a release's link, E506 if the disk is full or read-only.
    """
    from feature_repo import materialise

    loaded = load(bundle)
    releases, name = destination.resolve() / RELEASES, f"{loaded.info.features}-{loaded.digest}"
    _refuse_older(destination, started_at, name)
    with _work_folder(releases) as work:
        materialise.materialise_sqlite(features, work / name)
        shutil.copytree(bundle, work / name / BUNDLE)
        (work / name / METADATA).write_text(json.dumps({STARTED_AT: started_at}) + "\n")
        sync_all(work)
        with _switch_lock(releases):
            _refuse_older(destination, started_at, name)
            if is_newer(held := _started_at(releases / name), started_at):
                (work / name / METADATA).write_text(json.dumps({STARTED_AT: held}) + "\n")
                sync_all(work / name)
            _install(work / name, releases / name)
            sync_folder(releases)
            _switch(destination, name)
            released = [path for path in releases.iterdir() if NAME.fullmatch(path.name)]
            for old in sorted(released, key=lambda path: (path / METADATA).stat().st_mtime_ns)[:-NUM_RETAINED]:
                old.rename(work / f"{old.name}.old")  # removed with the work folder
    return str(releases / name / BUNDLE)


def current_bundle(destination: Path) -> str:
    """Digest of the current bundle in a destination folder; empty if there is none."""
    link = destination / CURRENT
    name = Path(os.readlink(link)).name if link.is_symlink() else ""
    return name.rpartition("-")[2] if NAME.fullmatch(name) else ""


def _refuse_older(destination: Path, started_at: str, name: str) -> None:
    """Raise EnvironmentFault E565 if the current release is another one, of a run that started later."""
    current = _current(destination)
    if current in {"", name}:
        return
    check_run_order(destination, _started_at(destination / RELEASES / current), started_at)


def _started_at(release: Path) -> str:
    """Start time of the newest run that published a release; empty if unknown. EnvironmentFault E563 if its metadata are damaged."""
    metadata = release / METADATA
    if not metadata.is_file():
        return ""
    try:
        started_at = str(json.loads(metadata.read_text())[STARTED_AT])
        if started_at:
            parse_started_at(started_at)
    except (ValueError, TypeError, KeyError, RecursionError, UsageError) as error:
        remedy = f"Move {release} away and publish again."
        raise EnvironmentFault("E563", f"{metadata} does not say when its run started", remedy=remedy) from error
    return started_at


def _current(destination: Path) -> str:
    """Name of the current release; empty if there is none."""
    link = destination / CURRENT
    if not link.is_symlink():
        if link.exists():
            raise EnvironmentFault("E563", f"{link} is not a link to the current release", remedy="Move it away and publish again.")
        return ""
    return Path(os.readlink(link)).name


@contextmanager
def _work_folder(releases: Path) -> Iterator[Path]:
    """A temporary work folder, removed on exit; orphans of killed processes are removed too."""
    try:
        make_synced_folder(releases)
        for orphan in releases.glob(".*.work"):
            remove_unlocked(orphan)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".work", dir=releases, ignore_cleanup_errors=True) as name, lock(Path(name)):
            yield Path(name)
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "errno", None) not in NO_SPACE_ERRNOS and getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            raise
        message = f"{releases} cannot be written ({error})"
        raise EnvironmentFault("E506", message, remedy="Free disk space there and run the same command again.") from error


@contextmanager
def _switch_lock(releases: Path) -> Iterator[None]:
    """Exclusive lock for the switch of the current release; waits for other processes."""
    handle = os.open(releases, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _install(release: Path, target: Path) -> None:
    """Move a release to its final path; if it exists already, its files are replaced one by one, each atomically."""
    if not target.exists():
        release.rename(target)
        return
    for file in sorted(path for path in release.rglob("*") if path.is_file()):
        installed = target / file.relative_to(release)
        installed.parent.mkdir(exist_ok=True)
        file.replace(installed)


def _switch(destination: Path, name: str) -> None:
    """Make a release current by an atomic rename of the symbolic link."""
    link = destination / f".{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(RELEASES, name))
    link.replace(destination / CURRENT)
    sync_folder(destination)
