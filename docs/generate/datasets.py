"""docs/datasets.md: of each public dataset what it is, small files of its shape, and the commands from them to tables, with what they say.

The files are those that the tests write (`tests/known_datasets`), and the commands are run in this process, so that the document says what
they say. Training is left to the test, which ends each transcript in recommendations.
"""

import contextlib
import gzip
import io
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from cli.main import main
from docs.generate.markdown import code, paragraph, table
from lodestar.data.address import Address
from lodestar.data.datasets import catalogue
from lodestar.data.describe import describe_path as describing
from lodestar.data.describe.describe_path import describe_path
from lodestar.data.ingest import validate
from lodestar.errors import LodestarError
from tests.describing import decided
from tests.known_datasets.known import KNOWN

FILE = "datasets.md"
DATA, DECLARATION = "data", "dataset.toml"
LINES, WIDTH = 2, 110  # of a file, that are shown
EXAMPLE = "movielens-1m"
DESCRIBE = f"lodestar data describe {DATA}/ > {DECLARATION}"
FIRST_LINE = f"head -n 1 {DECLARATION}"
VALIDATE = f"lodestar data validate --data {DECLARATION} | grep '^| .*[1-9]'"
PLAIN = f"lodestar data validate --data {DATA}/ | grep recognised"
RUN = f"lodestar run --data {DECLARATION} --recipe tiny --force --output run"
SERVE = "lodestar serve --bundle run/current/bundle --online-store sqlite:run/current/online/online.db"

INTRODUCTION = f"""Lodestar knows {len(KNOWN)} public datasets by their files; a declaration of each is shipped with the package
(`lodestar/data/datasets`). `lodestar data list` has them all, `lodestar data list {EXAMPLE}` prints a declaration, and
`lodestar data fetch {EXAMPLE}` downloads one that has a public address. A folder with the files as their owners publish them needs no
description: every command accepts it."""
STEPS = """Each section below goes from files of a dataset's shape to validated tables, with the rows of each table: in, kept, dropped, and
implied by events. The files are small and made up: names, columns and forms of values are those of the published header, whose source is
named. From each of these declarations on it is the same to a model and to ten recommendations, which `curl` shows:"""
TESTED = """A test compares what the commands of each section say with this page. Another goes on from each declaration until a user has
recommendations, by the library's functions and with the recipe `popularity`, which takes less time than `tiny`."""
EDITS = """No line of these declarations is left to edit. Files of the same shape that nobody knows are described by inference alone, as
in [describing.md](describing.md). The last column says how far that goes with the same files: how many lines a person decides, where other
rows are kept with the first answer of each, and the code where its rows are refused, so that more is written by hand. Three of these
datasets are read by code, as no declaration can say what they need ([decision 0023](decisions/0023-public-data-sets-are-declared.md))."""
CHANGE = """To read a dataset in another way, edit the declaration that `describe` writes, as `feedback` for what is positive:
[declaration.md](reference/declaration.md) has every key."""


class Transcript(NamedTuple):
    """Commands in a folder with a dataset's files and what they say, and the declaration that they make."""

    said: str
    declaration: str


def page() -> str:
    """The page as Markdown."""
    return "\n".join([introduction(), *map(section, KNOWN)])


def introduction() -> str:
    """The page before its sections."""
    end = f"```sh\n{RUN}\n{SERVE}\ncurl 'http://127.0.0.1:8080/v1/recommend?user=USER&k=10'\n```\n"
    plain = _console(EXAMPLE, (PLAIN,))[0]
    rows = [(code(name), str(num_edits(name)), _inferred(name)) for name in KNOWN]
    edits = table(("dataset", "lines to edit", "without recognition"), rows)
    told = [paragraph(INTRODUCTION), plain, paragraph(STEPS), end, paragraph(TESTED), paragraph(EDITS), edits, paragraph(CHANGE)]
    return "\n".join(["# Public datasets\n", *told])


def section(name: str) -> str:
    """The section of a dataset: what it is, its files, and the commands with what they say."""
    title = catalogue.declarations()[name].about.title
    return "\n".join([f"## {title}\n", paragraph(_about(name)), _files(name), transcript(name).said])


def num_edits(name: str) -> int:
    """How many lines a person edits of the declaration that is written of a dataset's files."""
    return decided(transcript(name).declaration)[1]


@cache
def transcript(name: str) -> Transcript:
    """The commands from a dataset's files to validated tables."""
    return _console(name, (DESCRIBE, FIRST_LINE, VALIDATE))


def _console(name: str, commands: tuple[str, ...]) -> Transcript:
    with _folder(name):
        said = "".join(f"$ {command}\n{_run(command)}" for command in commands)
        written = Path(DECLARATION)
        return Transcript(f"```console\n{said}```\n", written.read_text() if written.exists() else "")


def _about(name: str) -> str:
    """What a dataset is: licence, size and use as they are listed, whether it can be fetched, and the source of its header."""
    offers = [catalogue.offer(edition) for edition, declared in catalogue.names().items() if declared == name]
    sizes = "; ".join(f"{code(one.name)}: {one.size}{' (`data fetch`)' if one.download else ''}" for one in offers)
    good_for = "; ".join(dict.fromkeys(one.good_for for one in offers if one.good_for))
    sources = re.findall(r"https?://[^\s)]+", KNOWN[name].write.__doc__ or "")
    header = f" Form of the files: {', '.join(sources)}." if sources else ""
    return f"{sizes}. Licence: {offers[0].licence}. Good for {good_for}.{header}"


def _files(name: str) -> str:
    """The first lines of a dataset's files, as `head` shows them."""
    with _folder(name):
        found = sorted(path for path in Path(DATA).rglob("*") if path.is_file())
        shown = "\n".join(f"==> {path.relative_to(DATA)} <==\n{_head(path)}" for path in found)
    return f"```text\n{shown}```\n"


def _head(path: Path) -> str:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin1")
    return "".join(f"{line if len(line) <= WIDTH else f'{line[:WIDTH]}…'}\n" for line in text.split("\n")[:LINES] if line)


def _inferred(name: str) -> str:
    """How many lines a person would decide were the dataset not known, and what is wrong with the first answers."""
    with _folder(name), mock.patch.object(describing, "recognise_files", return_value=None):
        try:
            text, edits = decided(describe_path(Address(path=DATA), Path()).text)
            Path(DECLARATION).write_text(text)
            with contextlib.redirect_stderr(io.StringIO()):
                report = validate(DECLARATION)
        except LodestarError as error:
            return f"refused: {str(error).split()[0]}"
    kept = report.tables["events"].rows_kept
    lines = "1 line" if edits == 1 else f"{edits} lines"
    return lines if kept == KNOWN[name].events else f"{lines}, {kept} events in place of {KNOWN[name].events}"


@contextlib.contextmanager
def _folder(name: str) -> Iterator[None]:
    """A working directory of its own, with a dataset's files in DATA."""
    mask = os.umask(0)
    os.umask(mask)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        KNOWN[name].write(Path(DATA))
        try:
            yield
        finally:
            os.umask(mask)  # the command line changes it


def _run(command: str) -> str:
    """What a command says on standard output: one of `lodestar` runs in this process, and what follows it in a shell."""
    if not command.startswith("lodestar "):
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    own, separator, rest = (part.strip() for part in re.split("([|>])", command, maxsplit=1))
    target = Path(rest if separator == ">" else "said")
    with target.open("w") as said, contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()) as errors:
        if main(own.split()[1:]):
            raise RuntimeError(f"{command}: {errors.getvalue()}")
    return "" if separator == ">" else subprocess.run(["sh", "-c", f"{rest} < said"], capture_output=True, text=True, check=True).stdout
