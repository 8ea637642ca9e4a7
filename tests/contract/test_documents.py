"""Documents hold what they promise: links lead somewhere, names exist, prose breaks at 120 characters."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.generate.imports import EDGES, LIBRARY, rooms

ROOT = Path(__file__).parents[2]
WIDTH = 120
PACKAGES = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli", "manifests", "benchmarks", "tests", "docs")
DOCUMENTS = sorted(
    ROOT / name for name in subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
)
NAMES = [str(file.relative_to(ROOT)) for file in DOCUMENTS]
NOT_FILES = {"lodestar/canary-mode", "lodestar/recommend"}  # an annotation, a service
DECISIONS = ROOT / "docs" / "decisions"


def _prose(file: Path) -> Iterator[str]:
    """Lines of a document that are no code, table or heading."""
    is_code = False
    for line in file.read_text().splitlines():
        is_code ^= line.lstrip().startswith("```")
        if not is_code and not line.startswith(("|", "#", "    ", "```", "<")):
            yield line


def _anchors(file: Path) -> set[str]:
    """Anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_prose_breaks_at_120_characters(name: str) -> None:
    assert [line for line in _prose(ROOT / name) if len(line) > WIDTH] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    file = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", file.read_text())
    links += [(source, "") for source in re.findall(r'(?:src|srcset)="(?!https?:)([^"]+)"', file.read_text())]
    for target, anchor in links:
        found = (file.parent / target) if target else file
        assert found.exists(), target
        assert not anchor or anchor in _anchors(found), f"{target}#{anchor}"


@pytest.mark.parametrize("name", NAMES)
def test_every_file_and_module_that_is_named_exists(name: str) -> None:
    content = re.sub(r"```.*?```", "", (ROOT / name).read_text(), flags=re.DOTALL)
    named = re.findall(rf"`((?:{'|'.join(PACKAGES)})[/.][\w/.\-]+)`", content)
    assert [one for one in named if one not in NOT_FILES and "NAME" not in one and not _exists(one)] == []


def _exists(named: str) -> bool:
    """Whether a path, a dotted module, or a name in a module exists."""
    if "/" in named or (ROOT / named).exists():
        return (ROOT / named).exists()
    path = ROOT / named.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file() or _has_name(path.parent, path.name)


def _has_name(module: Path, name: str) -> bool:
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return file.is_file() and name in _defined(file)


def _defined(file: Path) -> set[str]:
    """Names that a module defines at its top, and methods and fields of its classes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_the_index_of_decisions_names_each_with_its_title() -> None:
    found = dict(re.findall(r"^\| \[(.*)\]\((\d{4}-.*\.md)\) \|", (DECISIONS / "README.md").read_text(), flags=re.MULTILINE))
    titles = {file.read_text().splitlines()[0].removeprefix("# "): file.name for file in DECISIONS.glob("0*.md")}
    assert found == titles


def test_the_readme_leads_to_every_page() -> None:
    section = (ROOT / "README.md").read_text().partition("## Documentation")[2].partition("\n## ")[0]
    linked = set(re.findall(r"\]\(([^)]+)\)", section))
    pages = {file for file in NAMES if re.fullmatch(r"docs/[\w-]+\.md|docs/\w+/README\.md|CONTRIBUTING\.md", file)}
    assert linked == pages


def _answers() -> list[tuple[str, str, str]]:
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## Where is")[2]
    return re.findall(r"^\| ([^|`]+)\? \| `([^`]+)` \| `(\w+)` \|$", section, flags=re.MULTILINE)


def test_what_is_asked_for_most_has_an_answer() -> None:
    asked = {question for question, _, _ in _answers()}
    assert asked >= {
        "the cold-start list",
        "NDCG",
        "the as-of join",
        "what a recipe may override",
        "a canary's weights",
        "an error's text",
        "a new feature",
        "the HTTP routes",
        "early stopping",
        "the seeds of a run",
    }


@pytest.mark.parametrize(("file", "name"), [(file, name) for _, file, name in _answers()])
def test_the_answer_is_where_it_is_said_to_be(file: str, name: str) -> None:
    assert name in _defined(ROOT / file)


def test_the_rooms_of_the_architecture_are_those_of_the_code() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text().partition("## Rooms")[2].partition("## ")[0]
    named = {name for row in re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE) for name in re.findall(r"`([\w/]+)`", row)}
    found = {room.name if room.name in EDGES else f"{LIBRARY}/{room.name}" for room in rooms().values() if room.is_folder}
    assert named == found
