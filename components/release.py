"""Publish a bundle with the online rows that it reads, as one generation."""

import re
from datetime import UTC, datetime
from pathlib import Path

from components.local_release import release_here
from components.step import has_redis
from lodestar import storage
from lodestar.bundle import load
from lodestar.errors import DataError
from lodestar.progress import log_event
from lodestar.run_order import parse_started_at
from lodestar.schema.places import GENERATION

NAME = re.compile(r"[0-9a-f]{16}")


def release(bundle: Path, features: Path, destination: str, started_at: str) -> str:
    """The immutable address that the bundle now has, empty where there is no destination; the same again changes nothing.

    Rows come first, the bundle's pointer last, and then what nobody serves is left to go: whoever is killed between leaves the generation
    before in service, and the same again ends it. `started_at` is when the run began (ISO 8601): EnvironmentFault E565 where a run that
    began later has published another bundle. DataError E555 where the bundle was not trained on these features.
    """
    started_us, made = _microseconds(started_at), load(bundle)
    if not destination:
        return ""
    check_generation(made.info.features, features)
    is_remote = storage.is_remote(destination)
    if is_remote:
        storage.refuse_older(bundle, destination, started_at)
    if has_redis():
        from feature_repo import publication

        publication.fill_redis(features)
    address = (
        storage.upload(bundle, destination, started_at) if is_remote else release_here(bundle, features, Path(destination), started_at)
    )
    if has_redis():
        log_event("online", generation=made.info.features, current=publication.make_current(features, started_us))
    log_event("released", address=address, digest=made.digest, generation=made.info.features)
    return address


def check_generation(trained_on: str, features: Path) -> None:
    """DataError E555 where a folder holds another generation of features than the one that a bundle names, or says none."""
    file = features / GENERATION
    held = file.read_text() if file.is_file() else "without a name"
    if held != trained_on or not NAME.fullmatch(held):  # it becomes a path, and a part of keys
        message = f"the bundle was trained on feature generation {trained_on}, and {features} holds generation {held}"
        raise DataError("E555", message, remedy="Publish the bundle with the features that it was trained on.")


def _microseconds(started_at: str) -> int:
    """UTC microseconds since 1970; UsageError where the text is no moment."""
    moment = parse_started_at(started_at)
    return int((moment - datetime.fromtimestamp(0, UTC)).total_seconds() * 1_000_000)
