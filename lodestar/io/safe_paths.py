"""Safe paths: untrusted file names (bucket keys, archive members, manifest paths) as paths below one folder, without path traversal.

An unsafe name is refused, not repaired: a repaired name would be another file.
"""

import fnmatch
import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from lodestar.errors import EnvironmentFault
from lodestar.process.safe_text import shorten

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4095  # limits of Linux; a longer path would raise OSError half-way
_DRIVE = re.compile(r"[A-Za-z]:")
_RENAME = "Rename it there; nothing was written."


def below(root: Path, names: Iterable[str], source: str) -> dict[str, Path]:
    """Each name as a path below `root`; `source` is the origin of the names, for messages.

    Raises EnvironmentFault E560 if a name leads outside or cannot be a file name, E561 if two names would be one file (compared without
    case and Unicode form, so the result is the same on any machine) or one is both a file and a folder.
    """
    paths: dict[str, Path] = {}
    files: dict[tuple[str, ...], str] = {}
    folders: dict[tuple[str, ...], str] = {}
    for name in names:
        paths[name] = path_below(root, name, source)
        parts = tuple(_folded(part) for part in PurePosixPath(name).parts)
        if files.setdefault(parts, name) != name:
            raise _name_clash(files[parts], name, source)
        folders |= {parts[:depth]: name for depth in range(1, len(parts))}
    for parts in files.keys() & folders.keys():
        raise _name_clash(files[parts], folders[parts], source)
    return paths


def path_below(root: Path, name: str, source: str) -> Path:
    """One name as a path below `root`; raises EnvironmentFault E560 as `below` does."""
    if reason := _fault(name):
        raise EnvironmentFault("E560", f"{source} names a file {shorten(name)!r}, which {reason}", remedy=_RENAME)
    path = root / name
    if len(os.fsencode(path.absolute())) > MAX_PATH_BYTES:
        raise EnvironmentFault("E560", f"{source} names a file {shorten(name)!r}, which is too long below {root}", remedy=_RENAME)
    return path


def existing_below(root: Path, name: str, source: str) -> Path:
    """`path_below` for an existing file; raises EnvironmentFault E562 if a symbolic link leads out of `root`."""
    path = path_below(root, name, source)
    if not path.resolve().is_relative_to(root.resolve()):
        raise EnvironmentFault("E562", f"{path} is a symbolic link out of {root}", remedy="Copy the file itself there.")
    return path


def matches(name: str, pattern: str) -> bool:
    """Match a name and a wildcard like a shell: it crosses no `/`, and matches no first dot of a name."""
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(
        fnmatch.fnmatchcase(part, wanted) and part.startswith(".") <= wanted.startswith(".")
        for part, wanted in zip(parts, patterns, strict=True)
    )


def plain_files(folder: Path, source: str) -> list[Path]:
    """All files under a folder in name order; `source` is the folder's name in messages.

    Raises EnvironmentFault E562 for anything but regular files and folders, such as a symbolic link.
    """
    files = []
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            files.append(path)
        elif not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
            raise EnvironmentFault(
                "E562",
                f"{source}/{path.relative_to(folder)} is {kind} and cannot be published",
                remedy="Replace it by a regular file, or remove it.",
            )
    return sorted(files)


def _fault(name: str) -> str:
    """The reason why a name is unsafe; empty if it is safe."""
    parts = name.split("/")
    if name.startswith("/"):
        return "is an absolute path"
    if any(part in ("", ".", "..") for part in parts):
        return "has a part that is empty, '.' or '..'"
    if "\\" in name or any(_DRIVE.match(part) for part in parts):
        return "is a path of another system"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has a control character"
    return "is too long" if any(len(part.encode()) > MAX_NAME_BYTES for part in parts) else ""


def _folded(part: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())


def _name_clash(first: str, second: str, source: str) -> EnvironmentFault:
    message = f"{source} names {shorten(first)!r} and {shorten(second)!r}, which are one file, or a file and a folder at once"
    return EnvironmentFault("E561", message, remedy=_RENAME)
