"""What a message tells to type exists: commands, options, fields of a recipe, settings of a training job, files to apply."""

import ast
import json
import re
import secrets
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.main import commands
from components.execution.step import _missing_input
from components.kubernetes import access_review
from components.kubernetes.job_settings import TrainStepInputs, job_from_settings
from components.kubernetes.training_api import KubernetesJobs
from lodestar.data.address import parse_address
from lodestar.error_codes import CODES
from lodestar.models.closed_form.ease import DENSE_MATRIX_REMEDY
from lodestar.recipes import get_recipe, load_recipe
from serving.collector.__main__ import _check_key
from tests.contract.test_error_codes import ROOT, trees

# Options of other programs: kubectl, pip, pyarrow, aws, openssl.
FOREIGN_OPTIONS = {"--recursive", "--extra", "--no-install-recommends"}
ERRORS = {"DataError", "EnvironmentFault", "UsageError", "ConfigError", "Unreachable", "SchemaMismatch", "GateFailed"}
NAMES = {"remedy", "message", "fix", "advice", "again", "example"}  # of variables that hold the texts of errors
SECTIONS = "data|model|train|rank|rate|evaluation|compression"


def texts() -> dict[str, set[str]]:
    """The texts of errors and remedies by file, {} where a place puts a value in; those of the table as well."""
    found: dict[str, set[str]] = {"lodestar/error_codes.py": {row.remedy for row in CODES.values()}}
    for file, tree in trees().items():
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ERRORS]
        assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).lower() in NAMES]
        for node in [*nodes, *assigned]:
            found.setdefault(file, set()).update(text(part) for part in ast.walk(node) if isinstance(part, ast.JoinedStr | ast.Constant))
    return found


def text(node: ast.expr) -> str:
    """A text with {} for what is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """Options of each command, by its words."""
    return {name: {one for action in parser._actions for one in action.option_strings} for name, parser in commands().items()}


def test_every_command_that_a_message_names_exists(options: dict[str, set[str]]) -> None:
    named = {(file, found) for file, every in texts().items() for one in every for found in re.findall(r"`lodestar ([^`]+)`", one)}
    assert len(named) >= 6
    for file, command in named:
        words = re.match(r"[a-z-]+( [a-z-]+)*", command)
        assert words is not None, command
        name = next((known for known in options if words[0] == known or words[0].startswith(f"{known} ")), None)
        assert name is not None, f"{file}: lodestar {command}"
        assert set(re.findall(r"--[a-z-]+", command)) <= options[name], f"{file}: lodestar {command}"


def test_every_option_that_a_message_names_exists(options: dict[str, set[str]]) -> None:
    known = set().union(*options.values()) | FOREIGN_OPTIONS
    named = {(file, found) for file, every in texts().items() for one in every for found in re.findall(r"(?<![\w-])--[a-z][a-z-]+", one)}
    assert len(named) >= 15
    assert sorted((file, option) for file, option in named if option not in known) == []


def test_every_field_that_a_message_names_may_be_overridden() -> None:
    pattern = rf"\b({SECTIONS})\.([a-z][a-z_]+)\b(?: (0|auto|cpu)\b)?"
    named = {(file, *found) for file, every in texts().items() for one in every for found in re.findall(pattern, one)}
    named = {entry for entry in named if entry[2] not in {"py", "min_"}}
    assert {f"{section}.{name}" for _, section, name, _ in named} >= {"train.device", "rate.dim", "rank.candidates", "data.test_share"}
    for file, section, name, value in named:
        assert hasattr(getattr(get_recipe("sasrec_ranker"), section), name), f"{file}: {section}.{name}"
        if value:
            overrides = json.dumps({section: {name: json.loads(value) if value.isdigit() else value}})
            load_recipe("sasrec_ratings" if section == "rate" else "sasrec_ranker", overrides)


def test_every_recipe_that_a_remedy_names_exists() -> None:
    names = re.search(r": (.+)\.", DENSE_MATRIX_REMEDY)
    assert names is not None
    assert [get_recipe(name).name for name in re.split(", | or ", names[1])] == ["sasrec", "gsasrec", "gf_cf"]


def test_every_file_that_a_remedy_applies_exists() -> None:
    every = {one for found in texts().values() for one in found} | {access_review.GRANT}
    named = {path for one in every for path in re.findall(r"manifests/[\w./-]*\w|manifests/", one)}
    assert len(named) >= 2
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_document_that_a_message_names_exists() -> None:
    constants = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    named = {path for one in constants for path in re.findall(r"docs/[\w./-]+\.md", text(one))}
    assert "docs/reference/declaration.md" in named
    assert sorted(path for path in named if not (ROOT / path).is_file()) == []


def test_the_settings_of_a_training_job_are_accepted_as_a_remedy_writes_them() -> None:
    step = TrainStepInputs(image="i", features="s3://b/f", features_digest="d", bundle="s3://b/m", recipe="tiny", overrides="{}")
    remedy = KubernetesJobs("lodestar-training", "PyTorchJob", object())._not_installed_error("no such kind").remedy
    settings = re.search(r"`({.+?})`", remedy)
    assert settings is not None
    assert job_from_settings(settings[1], step).kind == "TrainJob"
    every = {text(node) for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr)}
    examples = {found for one in every for found in re.findall(r"LODESTAR_TRAINING='({.+?})'", one.replace('"{}"', '"8Gi"'))}
    assert {key for example in examples for key in json.loads(example)} >= {"memory", "workers", "gpus"}
    for example in examples:
        assert job_from_settings(example, step)


def test_a_step_whose_input_is_gone_is_run_anew_as_the_remedy_says() -> None:
    from kfp.dsl import Artifact

    remedy = _missing_input("train", Artifact(uri="s3://bucket/features"), "").remedy
    typed = [word for word in shlex.split(remedy.partition("as in ")[2].partition(":  ")[0].replace(": all", " all")) if "s3://" in word]
    assert [parse_address(word.removeprefix("data=")).cache for word in typed] == ["2", "2"]


def test_a_key_as_the_remedy_makes_it_is_accepted() -> None:
    made = ["openssl", "rand", "-hex", "32"]
    assert " ".join(made) in CODES["E582"].remedy
    key = subprocess.check_output(made, text=True).strip() if shutil.which("openssl") else secrets.token_hex(32)
    _check_key("0.0.0.0", key)


def test_the_extras_that_a_message_installs_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    named = {found for every in texts().values() for one in every for found in re.findall(r"pip install '\.\[(\w+)\]'", one)}
    assert named
    assert [extra for extra in named if not re.search(rf"^{extra} = \[", project, re.MULTILINE)] == []


def test_no_remedy_is_empty_or_repeats_that_there_is_a_fault() -> None:
    short = {
        remedy
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "remedy" and isinstance(node.value, ast.Constant)
        for remedy in [str(node.value.value)]
        if not re.fullmatch(r"[A-Z`].{10,}[.]", remedy, re.DOTALL)
    }
    assert short == set()
    assert Path(ROOT / "docs/reference/errors.md").is_file()
