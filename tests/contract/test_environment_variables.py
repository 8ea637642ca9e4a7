"""Every environment variable of ours stands in one table, and every one in the table is read."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from lodestar.process import environment_variables
from lodestar.process.environment_variables import VARIABLES
from tests.factories import ROOT

NAME = re.compile(r"\bLODESTAR_[A-Z_]+\b")
ROOMS = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli", "manifests", "docs")
TABLE = Path(environment_variables.__file__)


def _sources(*suffixes: str) -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in (ROOT / room).rglob("*") if path.suffix in suffixes and path != TABLE)


def test_every_name_that_is_written_anywhere_is_in_the_table() -> None:
    named = {(path.name, name) for path in _sources(".py", ".yaml", ".md") for name in NAME.findall(path.read_text())}
    unknown = sorted((file, name) for file, name in named if name not in VARIABLES and name != environment_variables.POD)
    assert unknown == []


def test_code_names_a_variable_by_its_constant() -> None:
    literals = [
        (path.name, node.value)
        for path in _sources(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in VARIABLES and str(node.value).startswith("LODESTAR_")
    ]
    assert literals == []


def test_every_variable_in_the_table_is_read_somewhere() -> None:
    constants = {value: name for name, value in vars(environment_variables).items() if isinstance(value, str) and value in VARIABLES}
    code = "\n".join(path.read_text() for path in _sources(".py", ".yaml"))
    pods = {name for name in VARIABLES if name.startswith(environment_variables.POD)}
    # The AWS library, Python and rich read these themselves.
    of_others = {"AWS_SECRET_ACCESS_KEY", "TMPDIR", "NO_COLOR"}
    unread = [name for name in VARIABLES if not re.search(rf"\b({constants.get(name, name)}|{name})\b", code)]
    assert set(unread) - pods - of_others == set()
