"""Recognise files as a public dataset: by their names, their columns and the values in them, never by a name that they contradict."""

import glob
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from lodestar import schema
from lodestar.data.datasets import catalogue
from lodestar.data.datasets.datasets import READERS
from lodestar.data.declaration.declared_dataset import matching_files, other_files, without_absent_files
from lodestar.data.declaration.model import Declaration, TableSource
from lodestar.data.declaration.recognition import Heads, fits, has_contract_columns, heads, with_header
from lodestar.data.files import Files
from lodestar.errors import DataError, Location

Names = tuple[str, ...]
MAX_FILES = 50_000
OF_FOLDERS = "interactions"  # the dataset of which the name of a file in a folder says what its rows are


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """Files that are recognised as a public dataset: its name, its declaration with these files, and which of them it reads.

    `changed` are the lines on files that differ from the dataset's own, by the names of files there.
    """

    name: str
    declaration: Declaration
    used: Names
    changed: Mapping[Names, str]

    def text(self) -> str:
        """The text of the declaration, which names these files."""
        found = catalogue.text(self.name)
        for files, lines in self.changed.items():
            found = re.sub(rf"^files = {re.escape(_toml(files))}$", lines.replace("\\", r"\\"), found, flags=re.MULTILINE)
        return found


def recognise_files(files: Files) -> Recognised | None:
    """The public dataset that the files at a path are, None for the contract's own tables and for what is not known; E146 as there.

    A lone file is never plain interactions: only a folder says by a file's name that all of its rows are.
    """
    events = files.named.get(schema.EVENTS.name, ())
    if events and has_contract_columns(events[0]):
        return None
    if files.is_folder:
        return recognise(files.root, data_files(files.root))
    found = recognise(files.root, events)
    return None if found and found.name == OF_FOLDERS else found


def recognise(root: Path, paths: Sequence[Path]) -> Recognised | None:
    """The public dataset that files below the folder `root` are, None where they are none that is known.

    DataError E146 where they look like several, of which none explains more of the files than the others.
    """
    with heads() as beginnings:
        candidate = _Candidate(root, paths, beginnings)
        found = [one for name in catalogue.declarations() if (one := candidate.recognised(name))]
    most = max((len(one.used) for one in found), default=0)
    best = [one for one in found if len(one.used) == most]
    if len(best) > 1:
        titles = " and ".join(one.declaration.about.title for one in best)
        commands = " or ".join(f"`lodestar data list {one.name} > dataset.toml`" for one in best)
        place = Location(file=best[0].used[0])
        raise DataError("E146", f"the files look like {titles}", remedy=f"Choose, in their folder: {commands}.", place=place)
    return best[0] if best else None


def data_files(folder: Path) -> list[Path]:
    """All files below a folder, without hidden ones, sorted; none where there are more than MAX_FILES, which no known dataset has."""
    found = islice((path for path in folder.rglob("[!._]*") if path.is_file() and _is_visible(path, folder)), MAX_FILES + 1)
    files = sorted(found)
    return files if len(files) <= MAX_FILES else []


def _is_visible(path: Path, folder: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


@dataclass(frozen=True)
class _Candidate:
    """Files below a folder that may be a public dataset."""

    root: Path
    paths: Sequence[Path]
    beginnings: Heads

    def recognised(self, name: str) -> Recognised | None:
        """The files as the dataset of this name, None where they are not."""
        declaration = catalogue.declarations()[name]
        if declaration.reader:
            dataset = READERS[declaration.reader](self.root)
            is_it = dataset is not None and set(dataset.paths) <= set(self.paths)
            return (
                Recognised(name=name, declaration=declaration, used=self._names(dataset.paths), changed={}) if dataset and is_it else None
            )
        bound: dict[str, tuple[TableSource, ...]] = {}
        used: dict[Path, None] = {}
        changed: dict[Names, str] = {}
        for table in sorted(schema.TABLES.values(), key=lambda table: table is not schema.EVENTS):
            sources = []
            for source in declaration.sources(table):
                found = self._found(declaration, source)
                if found is None:
                    return None
                kept, paths = found
                if paths:
                    files = self._names(paths)
                    if set(paths) != set(self._matches(source.files)) or kept.header != source.header:
                        changed[source.files] = f"files = {_toml(files)}" + ("\nheader = true" if kept.header and not source.header else "")
                    kept = without_absent_files(kept.model_copy(update={"files": tuple(map(glob.escape, files))}), self._matches)
                    sources.append(kept)
                    used |= dict.fromkeys((*paths, *other_files(kept, self._matches)))
            bound[table.name] = tuple(sources)
        if not bound[schema.EVENTS.name]:
            return None
        return Recognised(name=name, declaration=declaration.model_copy(update=bound), used=self._names(used), changed=changed)

    def _found(self, declaration: Declaration, source: TableSource) -> tuple[TableSource, list[Path]] | None:
        """The files of a source, and the source as it reads them: by name and content, else by content alone.

        No files where the dataset may be without; None where it must have some.
        """
        recognition = source.recognise
        if recognition is None or not all(join.optional or self._matches(join.files) for join in source.join):
            return None
        named = self._matches(source.files)
        if recognition.alone and len(named) > 1:
            return None
        others = [path for path in self.paths if path not in named] if recognition.any_name else []
        for paths in (named, others):
            for form in (source, with_header(source)):
                if form and (found := [path for path in paths if fits(declaration, form, path, self.beginnings)]):
                    return form, found
        return (source, []) if recognition.optional else None

    def _matches(self, patterns: Sequence[str]) -> list[Path]:
        given = set(self.paths)
        return [path for path in matching_files(self.root, "", patterns) if path in given]

    def _names(self, paths: Sequence[Path] | Mapping[Path, None]) -> Names:
        return tuple(path.relative_to(self.root).as_posix() for path in paths)


def _toml(files: Names) -> str:
    """Names as they are written in a declaration."""
    return json.dumps(files[0] if len(files) == 1 else files, ensure_ascii=False)
