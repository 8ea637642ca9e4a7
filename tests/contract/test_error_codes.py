"""The table of error codes is unique and complete: what is raised is in it, what is in it is raised, and each code states one meaning."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path

import pytest

from lodestar import errors
from lodestar.error_codes import CODES
from lodestar.errors import DataError, EnvironmentFault, GateFailed, LodestarError, UsageError
from tests.contract.kustomize import OVERLAYS

ROOT = OVERLAYS.parents[1]
PACKAGES = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli")
TABLE = ROOT / "lodestar" / "error_codes.py"
# A whole text, the beginning of one, or a text in SQL.
RAISED = re.compile(r"^(E\d{3})(?=$|[ :])|'(E\d{3})[':]")
# Where a call that states a code has its message: an argument by position, or by name.
MESSAGES: dict[str, tuple[int, str]] = {
    **dict.fromkeys(("DataError", "EnvironmentFault", "Unreachable", "RowError"), (1, "message")),
    **dict.fromkeys(("InvalidRequest", "Rejection", "Refusal"), (2, "message")),
    **dict.fromkeys(("UsageError", "ConfigError", "GateFailed", "StepFailedError"), (0, "message")),
    "Malformed": (4, "message"),
}


@dataclass
class Raised:
    """Where a code is raised, and the messages with it, values of the place replaced by {}."""

    places: list[str] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)


@cache
def trees() -> dict[str, ast.Module]:
    """Every source file of ours but the table, without docstrings."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")) if file != TABLE]
    found = {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in files}
    for tree in found.values():
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                body[0].value.value = ""
    return found


@cache
def constants() -> dict[str, str]:
    """Codes by the name of a constant, such as NOT_JSON; a name is the same code in every file."""
    found: dict[str, str] = {}
    for file, tree in trees().items():
        for node in tree.body:
            if not isinstance(node, ast.Assign):
                continue
            targets, values = ([one] if not isinstance(one, ast.Tuple) else one.elts for one in (node.targets[0], node.value))
            for target, value in zip(targets, values, strict=False):
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and re.fullmatch(r"E\d{3}", str(value.value)):
                    assert found.setdefault(target.id, str(value.value)) == value.value, f"{file}: {target.id}"
    return found


def codes_of(node: ast.AST) -> list[str]:
    """The codes that an expression states: as text, or by a constant's name."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [next(filter(None, found)) for found in RAISED.findall(node.value)]
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return [constants()[name]] if name in constants() else []


@cache
def raised() -> dict[str, Raised]:
    """What is raised, by code."""
    found: dict[str, Raised] = defaultdict(Raised)
    for file, tree in trees().items():
        compared = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.Compare) for inner in ast.walk(node)}
        stated = {id(inner) for node in tree.body if isinstance(node, ast.Assign | ast.ImportFrom) for inner in ast.walk(node)}
        for node in ast.walk(tree):
            for code in codes_of(node) if id(node) not in compared | stated else ():
                found[code].places.append(f"{file}:{getattr(node, 'lineno', 0)}")
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]:
            for code, message in messages(function):
                found[code].messages.add(message)
        for node in tree.body:
            for code, message in messages(node) if isinstance(node, ast.Assign) else ():
                found[code].messages.add(message)
    return dict(found)


def messages(within: ast.AST) -> Iterator[tuple[str, str]]:
    """Codes and messages of the calls, and of the tables of messages, in a function or a statement."""
    assigned = [
        (node.lineno, target.id, node.value)
        for node in ast.walk(within)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    for node in ast.walk(within):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(value, ast.Tuple) and isinstance(key, ast.Constant):
                    yield from ((code, template(value.elts[0], {})) for code in codes_of(key))
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func).rpartition(".")[2]) in MESSAGES:
            position, keyword = MESSAGES[name]
            named = {entry.arg: entry.value for entry in node.keywords}
            message = named.get(keyword) or (node.args[position] if position < len(node.args) else None)
            if message is None:
                continue
            stated = [named["code"]] if "code" in named else node.args[:2]
            for code in [code for one in stated for code in codes_of(one)]:
                yield (
                    code,
                    template(
                        message, {name: value for line, name, value in sorted(assigned, key=lambda one: one[0]) if line <= node.lineno}
                    ),
                )


def template(message: ast.expr, locally: dict[str, ast.expr]) -> str:
    """A message with {} for what its place puts in; of a variable, the last value that the function gives it before."""
    if isinstance(message, ast.Name) and message.id in locally:
        return template(locally[message.id], {})
    if isinstance(message, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in message.values)
    return str(message.value) if isinstance(message, ast.Constant) else ast.unparse(message)


def test_every_code_that_is_raised_is_in_the_table() -> None:
    assert {code: found.places for code, found in raised().items() if code not in CODES} == {}


def test_every_code_of_the_table_is_raised() -> None:
    assert sorted(CODES.keys() - raised().keys()) == []


def test_the_table_names_each_code_once_and_in_order() -> None:
    named = re.findall(r'^    "(E\d{3})": ', TABLE.read_text(), flags=re.MULTILINE)
    assert named == sorted(set(named))
    assert len({row.meaning for row in CODES.values()}) == len(CODES)


def test_a_code_has_as_many_wordings_as_its_row_says() -> None:
    """A second message with a code may be a second meaning: whoever adds one says in the table that it is not."""
    wrong = {
        code: sorted(found.messages)
        for code, found in raised().items()
        if (wordings := CODES[code].wordings) is not None and len(found.messages) > wordings
    }
    assert wrong == {}
    fewer = {
        code: len(raised()[code].messages) for code, row in CODES.items() if (row.wordings or 0) > max(1, len(raised()[code].messages))
    }
    assert fewer == {}, "the table counts more wordings than are raised"


@pytest.mark.parametrize("code", CODES)
def test_a_row_is_a_sentence_and_a_remedy(code: str) -> None:
    row = CODES[code]
    assert re.fullmatch(r"[A-Z].{8,88}\.", row.meaning)
    assert re.fullmatch(r"[A-Z`].{4,}[.>W]", row.remedy)
    assert row.exit_code in {None, 2, 3, 4, 5}


def test_a_code_that_looks_like_an_http_status_is_answered_with_it() -> None:
    statuses = {f"E{status.value}": int(status) for status in HTTPStatus if 400 <= status < 500}
    assert {code: CODES[code].http_status for code in statuses if code in CODES} == {
        code: statuses[code] for code in statuses if code in CODES
    }


def test_the_exit_code_is_that_of_the_error_that_carries_the_code() -> None:
    classes: tuple[type[LodestarError], ...] = (DataError, EnvironmentFault, GateFailed, UsageError)
    names = {name: kind for kind in classes for name in (kind.__name__, *(sub.__name__ for sub in kind.__subclasses__()))}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (kind := names.get(ast.unparse(node.func))) is not None:
                for code in [code for one in (*node.args[:1], *(entry.value for entry in node.keywords)) for code in codes_of(one)]:
                    assert CODES[code].exit_code == kind.exit_code, code


def test_an_error_has_the_exit_code_of_its_code() -> None:
    found = [
        DataError("E101", "m", remedy="r"),
        EnvironmentFault("E501", "m", remedy="r"),
        UsageError("m", code="E180"),
        GateFailed("m", code="E220"),
    ]
    assert [error.exit_code for error in found] == [3, 5, 2, 4]
    assert [str(error) for error in found] == ["E101 m. r", "E501 m. r", "E180 m", "E220 m"]
    with pytest.raises(KeyError):
        errors.DataError("E999", "m", remedy="r")


def test_documents_name_codes_of_the_table_only() -> None:
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "manifests").rglob("*.y*ml")]
    named = {(file.name, code) for file in files for code in re.findall(r"\bE\d{3}\b", Path(file).read_text())}
    assert sorted((name, code) for name, code in named if code not in CODES) == []
