"""Release of a bundle with its online features as one generation, to a folder or to S3 and Redis."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.execution.step import has_redis
from components.release.local_release import release_locally
from lodestar.bundle.bundle import FORCED, load
from lodestar.errors import DataError
from lodestar.io import storage
from lodestar.io.private_folders import workspace
from lodestar.io.run_order import parse_started_at
from lodestar.progress import log_event
from lodestar.schema.store_keys import GENERATION
from lodestar.schema.time_units import EPOCH, SECOND_US

NAME = re.compile(r"[0-9a-f]{16}")


def release(bundle: Path, features: Path, destination: str, started_at: str, forced: str = "") -> str:
    """Publish a bundle and materialise its features; returns the bundle's immutable address, empty without a destination.

    A bundle that is released by force is published with the gate's reason against it, `forced`, in the file FORCED.

    Online rows are written first and the bundle's pointer last: after an interruption the previous generation stays in service, and the
    same call completes the release. `started_at` is the run's start time (ISO 8601). Raises EnvironmentFault E565 if a run that started
    later has published another bundle, DataError E158 if the bundle was not trained on these features.
    """
    started_us, loaded = _microseconds(started_at), load(bundle)
    if not destination:
        return ""
    check_generation(loaded.info.features, features)
    if forced:
        log_event("forced", digest=loaded.digest, reason=forced)
        with _with_reason(bundle, forced) as marked:
            return release(marked, features, destination, started_at)
    is_remote = storage.is_remote(destination)
    if is_remote:
        storage.refuse_older(bundle, destination, started_at)
    if has_redis():
        from feature_repo import materialise

        materialise.materialise_redis(features)
    address = (
        storage.upload(bundle, destination, started_at) if is_remote else release_locally(bundle, features, Path(destination), started_at)
    )
    if has_redis():
        log_event("online", generation=loaded.info.features, current=materialise.make_current(features, started_us))
    log_event("released", address=address, digest=loaded.digest, generation=loaded.info.features)
    return address


@contextmanager
def _with_reason(bundle: Path, reason: str) -> Iterator[Path]:
    """A temporary copy of a bundle that says why its release had to be forced; files are hard links where the file system has them."""
    with workspace() as folder:
        copy = Path(folder) / bundle.name
        shutil.copytree(bundle, copy, copy_function=_link)
        (copy / FORCED).write_text(json.dumps({"reason": reason}) + "\n")
        yield copy


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def check_generation(generation: str, features: Path) -> None:
    """Raise DataError E158 unless a feature set is of `generation`, which a bundle was trained on."""
    file = features / GENERATION
    held = file.read_text() if file.is_file() else "without a name"
    if held != generation or not NAME.fullmatch(held):  # it becomes part of paths and keys
        message = f"the bundle was trained on feature generation {generation}, and {features} holds generation {held}"
        raise DataError("E158", message, remedy="Publish the bundle with the features that it was trained on.")


def _microseconds(started_at: str) -> int:
    """UTC microseconds since 1970; raises UsageError if the text is not a timestamp."""
    return int((parse_started_at(started_at) - EPOCH).total_seconds() * SECOND_US)
