"""A release on this machine: a bundle and the online store that it reads, which become current together by one rename.

    DESTINATION/releases/GENERATION-BUNDLE/bundle, online, release.json
    DESTINATION/current -> releases/GENERATION-BUNDLE

A process that serves goes on with the release that it started with; the one that was current before is kept for it.
"""

import contextlib
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

from lodestar.bundle import load
from lodestar.durable import make_folder, sync_all, sync_folder
from lodestar.errors import EnvironmentFault
from lodestar.folder_locks import lock
from lodestar.publication import FULL
from lodestar.run_order import check_run_order, is_newer

RELEASES, CURRENT, ABOUT = "releases", "current", "release.json"
BUNDLE, ONLINE, STARTED_AT = "bundle", "online", "started_at"
KEPT = 2  # the current release, and the one before
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")


def release_here(bundle: Path, features: Path, destination: Path, started_at: str) -> str:
    """The path of the bundle in its release.

    The same bundle of an older run changes nothing. EnvironmentFault E565 where a run that began later has published another one, E563
    where `current` is not ours, E506 where the disk takes no more.
    """
    from feature_repo import publication

    made = load(bundle)
    releases, name = destination.resolve() / RELEASES, f"{made.info.features}-{made.digest}"
    _refuse_older(destination, started_at, name)
    with _scratch(releases) as work:
        publication.fill_file(features, work / name)
        shutil.copytree(bundle, work / name / BUNDLE)
        (work / name / ABOUT).write_text(json.dumps({STARTED_AT: started_at}) + "\n")
        sync_all(work)
        with _turn(releases):
            _refuse_older(destination, started_at, name)
            if is_newer(held := _held(releases / name), started_at):
                (work / name / ABOUT).write_text(json.dumps({STARTED_AT: held}) + "\n")
                sync_all(work / name)
            _place(work / name, releases / name)
            sync_folder(releases)
            _switch(destination, name)
            released = [path for path in releases.iterdir() if NAME.fullmatch(path.name)]
            for left in sorted(released, key=lambda path: (path / ABOUT).stat().st_mtime_ns)[:-KEPT]:
                left.rename(work / f"{left.name}.old")  # and away it goes with the folder
    return str(releases / name / BUNDLE)


def current_bundle(destination: Path) -> str:
    """The digest of the bundle that is current in a folder, empty where none is."""
    link = destination / CURRENT
    name = Path(os.readlink(link)).name if link.is_symlink() else ""
    return name.rpartition("-")[2] if NAME.fullmatch(name) else ""


def _refuse_older(destination: Path, started_at: str, name: str) -> None:
    """EnvironmentFault E565 where the current release is another one, of a run that began later."""
    current = _current(destination)
    if current in {"", name}:
        return
    check_run_order(destination, _held(destination / RELEASES / current), started_at)


def _held(release: Path) -> str:
    """When the newest run began that made a release, empty where that is not known."""
    about = release / ABOUT
    return str(json.loads(about.read_text())[STARTED_AT]) if about.is_file() else ""


def _current(destination: Path) -> str:
    """The name of the current release, empty where there is none."""
    link = destination / CURRENT
    if not link.is_symlink():
        if link.exists():
            raise EnvironmentFault("E563", f"{link} does not say which version is current", remedy="Move it away, and publish again.")
        return ""
    return Path(os.readlink(link)).name


@contextmanager
def _scratch(releases: Path) -> Iterator[Path]:
    """A folder to work in, gone at the end; what a process that was killed left there goes as well."""
    try:
        make_folder(releases)
        for left in releases.glob(".*.work"):
            with contextlib.suppress(BlockingIOError, FileNotFoundError), lock(left):
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".", suffix=".work", dir=releases, ignore_cleanup_errors=True) as name, lock(Path(name)):
            yield Path(name)
    except (OSError, sqlite3.Error) as error:
        if getattr(error, "errno", None) not in FULL and getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            raise
        message = f"{releases} cannot be written ({error})"
        raise EnvironmentFault("E506", message, remedy="Make room there; what was begun is gone, and the same command makes it.") from error


@contextmanager
def _turn(releases: Path) -> Iterator[None]:
    """Wait until no other process switches; the system gives the turn on when one is gone."""
    handle = os.open(releases, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _place(made: Path, target: Path) -> None:
    """Put a release in its place; where the same one is there, who reads its files finds each as it was or as it is now."""
    if not target.exists():
        made.rename(target)
        return
    for file in sorted(path for path in made.rglob("*") if path.is_file()):
        place = target / file.relative_to(made)
        place.parent.mkdir(exist_ok=True)
        file.replace(place)


def _switch(destination: Path, name: str) -> None:
    beside = destination / f".{CURRENT}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(Path(RELEASES, name))
    beside.replace(destination / CURRENT)
    sync_folder(destination)
