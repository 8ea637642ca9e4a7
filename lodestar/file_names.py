"""File names that somebody else gave (a bucket's keys, an archive's members, a manifest's paths), as paths below one folder, or not at all.

A name is refused rather than repaired: what was repaired would be another file than the one that was named.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lodestar.errors import EnvironmentFault, shorten

MOST_NAME_BYTES, MOST_PATH_BYTES = 255, 4095  # of Linux; a longer one ends in an OSError half-way
_DRIVE = re.compile(r"[A-Za-z]:")
_RENAME = "Rename it there; nothing was written."


def below(root: Path, names: Iterable[str], source: str) -> dict[str, Path]:
    """Each name as a path below `root`.

    EnvironmentFault E560 where a name leads elsewhere or cannot be a file's, E561 where two would be one file (on any machine: letters'
    case and Unicode forms do not count) or one is a file and a folder at once. `source` is what the message says they came from.
    """
    paths: dict[str, Path] = {}
    files: dict[tuple[str, ...], str] = {}
    folders: dict[tuple[str, ...], str] = {}
    for name in names:
        paths[name] = path_below(root, name, source)
        parts = tuple(_folded(part) for part in PurePosixPath(name).parts)
        if files.setdefault(parts, name) != name:
            raise _one_file(files[parts], name, source)
        folders |= {parts[:depth]: name for depth in range(1, len(parts))}
    for parts in files.keys() & folders.keys():
        raise _one_file(files[parts], folders[parts], source)
    return paths


def path_below(root: Path, name: str, source: str) -> Path:
    """One name as a path below `root`; EnvironmentFault E560 as in `below`."""
    if reason := _fault(name):
        raise EnvironmentFault("E560", f"{source} names a file {shorten(name)!r}, which {reason}", remedy=_RENAME)
    path = root / name
    if len(os.fsencode(path.absolute())) > MOST_PATH_BYTES:
        raise EnvironmentFault("E560", f"{source} names a file {shorten(name)!r}, which is too long below {root}", remedy=_RENAME)
    return path


def existing_below(root: Path, name: str, source: str) -> Path:
    """The same of a file that is there, which no symbolic link on the way below `root` may lead out of it (E562)."""
    path = path_below(root, name, source)
    if not path.resolve().is_relative_to(root.resolve()):
        raise EnvironmentFault("E562", f"{path} is a symbolic link out of {root}", remedy="Put the file itself there.")
    return path


def plain_files(folder: Path, source: str) -> list[Path]:
    """All files under a folder in name order; EnvironmentFault E562 at what is neither a plain file nor a folder, such as a link.

    `source` is what the message calls the folder.
    """
    files = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files.append(path)
        elif not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
            raise EnvironmentFault(
                "E562",
                f"{source}/{path.relative_to(folder)} is {kind}, and is not published",
                remedy="Put a plain file there, or take it away.",
            )
    return sorted(files)


def _fault(name: str) -> str:
    """Why a name cannot be that of a file below a folder, empty where it can."""
    parts = name.split("/")
    if name.startswith("/"):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "has a part that is empty, '.' or '..'"
    if "\\" in name or any(_DRIVE.match(part) for part in parts):
        return "is a path of another system"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has a control character"
    return "is too long" if any(len(part.encode()) > MOST_NAME_BYTES for part in parts) else ""


def _folded(part: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def _one_file(first: str, second: str, source: str) -> EnvironmentFault:
    message = f"{source} names {shorten(first)!r} and {shorten(second)!r}, which are one file, or a file and a folder at once"
    return EnvironmentFault("E561", message, remedy=_RENAME)
