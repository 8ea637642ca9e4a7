"""Describe the data at a path: the text of a declaration, and a preview of its tables."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lodestar.data.address import Address
from lodestar.data.declaration.model import FILE
from lodestar.data.declaration.parse import parse
from lodestar.data.describe.declaration_text import declaration_text
from lodestar.data.describe.description import Given, describe
from lodestar.data.describe.preview import preview
from lodestar.data.files import find_files
from lodestar.data.simulator.simulator import is_simulated
from lodestar.data.tables import manifest
from lodestar.errors import UsageError
from lodestar.io import storage
from lodestar.io.private_folders import workspace


@dataclass(frozen=True, kw_only=True)
class Described:
    """A declaration's text, a preview of the tables that it makes, and the number of decisions that it leaves to a person."""

    text: str
    preview: str
    num_decisions: int


def describe_path(address: Address, target: Path | None) -> Described:
    """Describe the files at an address; the declaration is for a file in the folder `target`, None where that is not known.

    UsageError where there is nothing to describe, DataError where no file holds events or a table cannot be read.
    """
    path = address.path
    if is_simulated(path) or path.endswith(".toml") or Path(path, manifest.FILE).is_file():
        raise UsageError(
            f"{path} needs no declaration: it is in the contract's shape; validate it with lodestar data validate --data {path}"
        )
    with workspace() as folder:
        is_remote = storage.is_remote(path)
        files = find_files(str(storage.fetch(path, folder / "fetched")) if is_remote else path)
        found = describe(files, Given(mapping=address.mapping, time_zone=address.time_zone), folder / "sample")
        text = declaration_text(found, path, folder="" if is_remote else _folder(files.root, target))
        assumed = parse(declaration_text(found, path, is_assumed=True).encode(), FILE)
        return Described(text=text, preview=preview(assumed, folder / "sample"), num_decisions=len(found.needed))


def _folder(root: Path, target: Path | None) -> str:
    """Where the files lie, seen from the declaration's folder: empty where they lie beside it."""
    if target is None:
        return str(root.resolve())
    if root.resolve() == target.resolve():
        return ""
    return Path(os.path.relpath(root.resolve(), target.resolve())).as_posix()


def folder_of_stdout() -> Path | None:
    """The folder of the file that standard output is written to, None where it is written to none, or the system does not tell."""
    try:
        path = Path(f"/proc/self/fd/{sys.stdout.fileno()}").resolve(strict=True)
    except (OSError, ValueError):
        return None
    return path.parent if path.is_file() else None
