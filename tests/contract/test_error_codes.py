"""A code of the environment's means one thing: what is to be done about it is the same wherever it is raised."""

import ast
from collections import defaultdict

from tests.contract.kustomize import OVERLAYS

ROOT = OVERLAYS.parents[1]
PACKAGES = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli")
# One meaning each ("memory is short", "it cannot be opened", "it is not what its digest says"), with the remedy of its place.
SAME_MEANING = {"E185", "E501", "E503", "E504", "E505", "E511", "E562", "E567"}


def remedies() -> dict[str, dict[str, str]]:
    """The remedy as it is written, by code and then by the file that raises it."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "EnvironmentFault" and isinstance(node.args[0], ast.Constant):
                remedy = next((ast.unparse(entry.value) for entry in node.keywords if entry.arg == "remedy"), "")
                found[str(node.args[0].value)][str(file.relative_to(ROOT))] = remedy
    return found


def test_no_code_has_two_remedies_in_two_files() -> None:
    found = {code: files for code, files in remedies().items() if len(set(files.values())) > 1}
    assert {code: files for code, files in found.items() if code not in SAME_MEANING} == {}
