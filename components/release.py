"""Publish a bundle: to a folder beside its online store, or to a versioned address in S3."""

import shutil
from pathlib import Path

from components.rollout import check_rights, deploy
from lodestar import storage
from lodestar.bundle import load
from lodestar.progress import log_event

BUNDLE = "bundle"
ONLINE = "online"


def release(bundle: Path, features: Path, destination: str, service: str) -> str:
    """The address that the bundle now has; publishing the same bundle twice changes nothing.

    EnvironmentFault E537 before anything is written where this account may not roll it out to the service.
    """
    check_rights(service)
    address = storage.upload(bundle, destination) if storage.is_remote(destination) else _to_folder(bundle, features, Path(destination))
    deploy(address, service)
    log_event("released", address=address, digest=load(bundle).digest)
    return address


def _to_folder(bundle: Path, features: Path, destination: Path) -> str:
    for name, source in ((BUNDLE, bundle), (ONLINE, features / ONLINE)):
        with storage.publish_folder(destination / name) as work:
            shutil.copytree(source, work, dirs_exist_ok=True)
    return str(destination / BUNDLE)
