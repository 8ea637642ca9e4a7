"""Public datasets that Lodestar knows: a declaration of each, shipped with the package."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from lodestar.data.declaration import parse
from lodestar.data.declaration.model import Declaration
from lodestar.errors import UsageError
from lodestar.process.suggestions import unknown_name

FOLDER = Path(__file__).parent
SUFFIX = ".toml"


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
    return (FOLDER / f"{declared_name(name)}{SUFFIX}").read_text()


def declared_name(name: str) -> str:
    """The name of the declaration of a dataset or of an edition; UsageError for one that is not known."""
    if name not in names():
        raise UsageError(unknown_name("there is no dataset", name, names()))
    return names()[name]
