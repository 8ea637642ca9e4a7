"""Describe the data at a path: the text of a declaration, and a preview of its tables."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from lodestar.data.address import Address
from lodestar.data.datasets.recognition import Recognised, data_files, recognise_files
from lodestar.data.declaration.model import FILE
from lodestar.data.declaration.parse import parse
from lodestar.data.describe.declaration_text import MAX_UNUSED, declaration_text
from lodestar.data.describe.description import Given, describe
from lodestar.data.describe.preview import preview
from lodestar.data.describe.samples.mirror import mirror
from lodestar.data.describe.toml_text import comment, line_text
from lodestar.data.files import Files, find_files
from lodestar.data.simulator.simulator import is_simulated
from lodestar.data.tables import manifest
from lodestar.errors import UsageError
from lodestar.io import storage
from lodestar.io.private_folders import workspace
from lodestar.process.suggestions import shortened


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
        if known := None if address.mapping or address.time_zone else recognise_files(files):
            return _known(known, files, "" if is_remote else _folder(files.root, target), folder / "sample")
        found = describe(files, Given(mapping=address.mapping, time_zone=address.time_zone), folder / "sample")
        seen = preview(parse(declaration_text(found, path, is_assumed=True).encode(), FILE), folder / "sample")
        text = declaration_text(found, path, folder="" if is_remote else _folder(files.root, target), problems=seen.problems)
        return Described(text=text, preview=seen.text, num_decisions=len(found.needed))


def _known(known: Recognised, files: Files, where: str, folder: Path) -> Described:
    """The declaration of a public dataset; `where` its files lie if not beside it, `folder` is for samples of them."""
    head = comment(f"Recognised as {known.declaration.about.title} by {shortened(known.used)}.")
    lines = [*head, *([line_text("folder", where)] if where else [])]
    for name in known.used:
        mirror(files.root / name, folder / name, head_only=True)
    others = [files.name_of(path) for path in (data_files(files.root) if files.is_folder else ()) if files.name_of(path) not in known.used]
    unused = [line for name in others[:MAX_UNUSED] for line in comment(f"{name}: it is not read")]
    text = "\n".join([*lines, "", known.text(), *(["# Not read:", *unused, ""] if unused else [])])
    return Described(text=text, preview=preview(known.declaration, folder).text, num_decisions=0)


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
