"""Publish a bundle: to a folder beside its online store, or to a versioned address in S3."""

import shutil
from pathlib import Path

from lodestar import storage
from lodestar.bundle import load
from lodestar.progress import log_event

BUNDLE = "bundle"
ONLINE = "online"


def release(bundle: Path, features: Path, destination: str, started_at: str) -> str:
    """The address that the bundle now has, empty where there is no destination; publishing the same bundle twice changes nothing."""
    if storage.is_remote(destination):
        address = storage.upload(bundle, destination, started_at)
    else:
        address = _to_folder(bundle, features, Path(destination)) if destination else ""
    log_event("released", address=address, digest=load(bundle).digest, started_at=started_at)
    return address


def _to_folder(bundle: Path, features: Path, destination: Path) -> str:
    for name, source in ((BUNDLE, bundle), (ONLINE, features / ONLINE)):
        with storage.publish_folder(destination / name) as work:
            shutil.copytree(source, work, dirs_exist_ok=True)
    return str(destination / BUNDLE)
