"""Public datasets that Lodestar knows: a declaration of each, shipped with the package."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from lodestar import schema
from lodestar.data.declaration import parse
from lodestar.data.declaration.about import Download
from lodestar.data.declaration.model import Declaration
from lodestar.errors import UsageError
from lodestar.process.suggestions import unknown_name

FOLDER = Path(__file__).parent
SUFFIX = ".toml"
WIDTH = 80


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A dataset, or an edition of one, as its owners offer it; `files` are what its declaration reads."""

    name: str
    title: str
    url: str
    licence: str
    terms: str
    citation: str
    size: str
    good_for: str
    download: tuple[Download, ...]
    files: tuple[str, ...]


@cache
def declarations() -> Mapping[str, Declaration]:
    """The declarations by name, in the order of their names."""
    return MappingProxyType({file.stem: parse.read(file) for file in sorted(FOLDER.glob(f"*{SUFFIX}"))})


@cache
def names() -> Mapping[str, str]:
    """The names of all datasets, editions included, each with the name of its declaration."""
    found = {name: (*declaration.about.editions,) or (name,) for name, declaration in declarations().items()}
    return MappingProxyType({edition: name for name, editions in found.items() for edition in editions})


def text(name: str) -> str:
    """The text of a dataset's declaration; UsageError for a name that is not known."""
    return (FOLDER / f"{_declared_name(name)}{SUFFIX}").read_text()


def offer(name: str) -> Offer:
    """What a dataset or an edition is and how it is had; UsageError for a name that is not known."""
    declaration = declarations()[_declared_name(name)]
    about = declaration.about
    edition = about.editions.get(name, about)
    return Offer(
        name=name,
        title=edition.title,
        url=about.url,
        licence=about.licence,
        terms=about.terms,
        citation=about.citation,
        size=edition.size,
        good_for=edition.good_for,
        download=edition.download,
        files=tuple(dict.fromkeys(_files(declaration))),
    )


def listing() -> str:
    """All datasets in lines of at most WIDTH columns: name, how it is had, licence, title, size, what it is good for."""
    return "".join(map(_listed, map(offer, names())))


def _listed(one: Offer) -> str:
    head = f"{one.name}  ({'data fetch' if one.download else 'by hand'}; {one.licence})"
    lines = [f"{one.title}: {one.size}", f"good for: {one.good_for}"]
    return "\n".join([head, *(textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="    ") for line in lines)]) + "\n"


def _files(declaration: Declaration) -> Iterator[str]:
    """The names of the files that a declaration reads: the first where several are the same."""
    for table in schema.TABLES.values():
        for source in declaration.sources(table):
            for files in (source.files, *(join.files for join in source.join)):
                yield from files[:1]
    yield from declaration.about.files


def _declared_name(name: str) -> str:
    if name not in names():
        raise UsageError(unknown_name("there is no dataset", name, names()))
    return names()[name]
