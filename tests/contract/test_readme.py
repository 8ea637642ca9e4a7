"""What the README says is there, is there."""

import ast
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest

import cli.main
from cli.main import FORWARDED
from lodestar.recipes import MEASURED, RECIPES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_LINES, MOST_FUNCTION_LINES = 300, 50
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _tree() -> set[str]:
    section = (ROOT / "README.md").read_text().partition("## Project layout")[2]
    block = section.split("```")[1]
    return set(re.findall(r"^(\w+)/ ", block, flags=re.MULTILINE))


def test_the_tree_names_every_folder_and_no_other() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {path.split("/")[0] for path in tracked if "/" in path and not path.startswith(".")}
    assert _tree() == folders


def test_every_test_folder_of_the_tree_holds_tests() -> None:
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("tests/"))
    named = {word.strip(" ,") for word in line.removeprefix("tests/").split(",")}
    assert named == {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))}


def _sources() -> list[Path]:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / path for path in tracked if (ROOT / path).exists()]


def test_no_file_is_too_long() -> None:
    assert [path for path in _sources() if len(path.read_text().splitlines()) > MOST_LINES] == []


def test_no_function_is_too_long() -> None:
    functions = [(path, node) for path in _sources() for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTIONS)]
    too_long = [f"{path}:{node.name}" for path, node in functions if (node.end_lineno or 0) - node.lineno >= MOST_FUNCTION_LINES]
    assert functions
    assert too_long == []


def _commands() -> list[list[str]]:
    """Every line of the documents that calls us, as words."""
    lines = [line.strip() for file in DOCUMENTS for line in file.read_text().replace("\\\n", " ").splitlines()]
    called = [line.partition("  #")[0].partition(" # ")[0] for line in lines if re.match(r"lodestar [a-z]", line)]
    return [words[1:] for words in map(shlex.split, called)]


def test_every_command_of_the_documents_is_one() -> None:
    """An option that does not exist ends a parser with SystemExit."""
    commands = _commands()
    assert {words[0] for words in commands} == {
        "run",
        "data",
        "features",
        "simulate",
        "serve",
        "collect",
        "compile",
        "rollout",
        "tune",
        "step",
    }
    for words in commands:
        if words[0] in FORWARDED:
            import_module(FORWARDED[words[0]][0]).parser().parse_args(words[1:])
        else:
            cli.main.parser().parse_args(words)


def test_what_is_to_be_installed_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """`lodestar` on package indexes is somebody else's; the checkout is ours, and what it installs goes by another name."""
    told = [file.read_text() for file in (*DOCUMENTS, *_sources())]
    assert not re.findall(r"pip install [^\n`]*[ '\"]lodestar\b", "\n".join(told))
    assert cli.main.main(["--version"]) == 0
    assert re.fullmatch(r"lodestar \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_families_and_their_figures_stand_in_the_documents_as_in_the_recipes() -> None:
    content = (ROOT / "docs" / "models.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", content, flags=re.MULTILINE))
    written = {name: tuple(float(value) for value in figures.split(" / ")) for name, figures in rows.items()}
    assert written == MEASURED
    assert MEASURED.keys() <= RECIPES.keys()
