"""Every command: one form and meaning for each option, help that fits 80 columns, and examples that work when typed."""

import argparse
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import FORWARDED, commands, main
from components.kubernetes import manifests
from lodestar.process import option_values as forms
from lodestar.process.command_line import OPTIONS, Parser
from lodestar.training import __main__ as worker

COMMANDS = commands()
# The steps' options are parameters and artifacts of the pipeline: an artifact has one name where it is written and where it is read.
ALL = {name: command for name, command in COMMANDS.items() if not name.startswith("step ")} | {
    "worker": worker.parser(),
    "manifests": manifests.parser(),
}
# What stands under another name nowhere: these are written with --output, read with --data, and so on.
NOT_POSITIONAL = {"data", "tables", "features", "output", "bundle", "recipe", "landing", "log", "path"}


def options(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if action.option_strings and action.dest != "help"]


def test_every_command_is_known() -> None:
    assert {name.split()[0] for name in COMMANDS} == {"run", "compile", "data", "features", "tune", "recipes", *FORWARDED}


def test_an_option_has_the_same_form_in_every_command() -> None:
    forms: dict[str, set[tuple[object, ...]]] = defaultdict(set)
    for command in ALL.values():
        for action in options(command):
            is_repeatable = isinstance(action, argparse._AppendAction)
            forms[action.option_strings[0]].add((action.metavar, action.nargs, is_repeatable or None))
    repeatable_too = {"--tables", "--features"}  # of many runs, in `features skew-test`
    differing = {name: found for name, found in forms.items() if len({form[:2] for form in found}) > 1}
    assert differing == {}
    assert {name for name, found in forms.items() if len(found) > 1} == repeatable_too


def test_an_option_of_several_commands_is_declared_once() -> None:
    names = [action.option_strings[0] for command in ALL.values() for action in options(command)]
    several = {name for name in names if names.count(name) > 1}
    assert several - OPTIONS.keys() == set()


def test_what_is_read_and_written_is_an_option_of_its_name() -> None:
    for name, command in ALL.items():
        positional = {action.dest for action in command._actions if not action.option_strings}
        assert not positional & NOT_POSITIONAL, name


@pytest.mark.parametrize("name", [*COMMANDS, "worker", "manifests"])
def test_help_fits_80_columns_and_says_what_each_option_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    command = {**COMMANDS, **ALL}[name]
    text = command.format_help()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("usage: ")
    if name in COMMANDS:
        assert text.startswith(f"usage: lodestar {name}")
    formatter = command._get_formatter()
    for action in options(command):
        said = formatter._get_help_string(action) or ""
        assert said.strip(), action.option_strings
        if action.nargs != 0 and not name.startswith("step "):
            assert action.metavar, action.option_strings
            assert any(word in said for word in ("(default", "(required", "default:", "(repeatable")), (action.option_strings, said)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_are_parsed(name: str) -> None:
    command = COMMANDS[name]
    assert command.examples
    for example in command.examples:
        words = shlex.split(example.replace("\\\n", " "))
        assert words[: len(name.split()) + 1] == ["lodestar", *name.split()]
        command.parse_args(words[len(name.split()) + 1 :])


@pytest.mark.parametrize("name", ["", "data", "features", "rollout", "step"])
def test_a_group_of_commands_has_help_that_fits_and_examples(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert text.startswith(f"usage: lodestar {name}".rstrip())
    assert max(map(len, text.splitlines())) <= 80
    examples = [line.strip() for line in text.partition("examples:\n")[2].splitlines()]
    assert all(example.startswith(f"lodestar {name}".rstrip()) for example in examples)
    assert examples


def test_help_fills_paragraphs_and_keeps_examples() -> None:
    command = Parser(prog="x", description="one two three", epilog="four", examples=["x --a 1", "x --a 2"])
    command.add_argument("--a", default=3, metavar="N", help="a number")
    command.add_argument("--b", required=True, metavar="N", help="another")
    text = command.format_help()
    assert "four\n\nexamples:\n  x --a 1\n  x --a 2\n" in text
    assert "a number (default: 3)" in text
    assert "another (required)" in text


@pytest.mark.parametrize(
    ("form", "texts"),
    [
        (forms.count, ["0", "1.5", "x", "", "-1", "9" * 5000, "²"]),
        (forms.whole_number(1, 99), ["0", "100", "1e1"]),
        (forms.port, ["-1", "65536", "x", "9" * 5000]),
        (forms.host, ["", "[]", "a b", "a\nb", "é..x", "h" * 300]),
        (forms.seconds, ["0", "-1", "nan", "inf", "x", "1e300"]),
        (forms.given, ["", " "]),
        (forms.local_path, ["", "s3://bucket/folder", "https://host/file"]),
        (forms.pipeline_path, ["", "pipeline.txt", "s3://bucket/pipeline.yaml"]),
        (forms.web_address, ["", "host", "file:///etc/passwd", "http://", "http://a b"]),
        (forms.origin, ["", "host", "https://host/path", "https://a\nb"]),
        (forms.registry, ["", "a b", "-x", "host/a\nb", "https://host"]),
        (forms.image, ["", "a b", "a\nb: c"]),
        (forms.name, ["", "a/b", "a\x1b[31m", "n" * 129]),
        (forms.object_name, ["", "A_b", "-a", "a\nb", "n" * 64]),
        (forms.quantity, ["", "lots", "-3", "1 Gi"]),
        (forms.digest, ["xyz", "ab12"]),
    ],
)
def test_a_value_of_another_form_is_refused_in_one_short_line(form: Callable[[str], object], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as error:
            form(text)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        (forms.count, "3", 3),
        (forms.port, "0", 0),
        (forms.host, "[::1]", "::1"),
        (forms.seconds, "0.5", 0.5),
        (forms.web_address, "http://127.0.0.1:8080/pipeline", "http://127.0.0.1:8080/pipeline"),
        (forms.origin, "*", "*"),
        (forms.registry, "localhost:5000/team", "localhost:5000/team"),
        (forms.image, "registry.example.com/team/lodestar-python-train:v1", "registry.example.com/team/lodestar-python-train:v1"),
        (forms.quantity, "1.5Gi", "1.5Gi"),
        (forms.digest, "", ""),
        (forms.local_path, "a/b", Path("a/b")),
    ],
)
def test_a_value_of_the_form_is_parsed(form: Callable[[str], object], text: str, value: object) -> None:
    assert form(text) == value


@pytest.mark.parametrize("option", ["--seed=-1", f"--seed={2**63}", "--seed=1e3", "--cutoffs=1000000001"])
def test_a_number_of_a_command_that_is_out_of_range_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["features", "leak-test", "--data", "none.csv", option])
    assert ended.value.code == 2
    assert f"argument {option.partition('=')[0]}: needs a whole number from" in capsys.readouterr().err


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lodestar ")


def test_a_module_that_is_run_by_itself_is_called_as_the_command_is() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-m", "serving.rollout", "--help"], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("usage: lodestar rollout")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["rn"], "lodestar: E300 argument COMMAND: no choice 'rn'; did you mean run?"),
        (["--recipe", "tiny", "run"], "lodestar: E300 unknown argument '--recipe' before the command: options follow it"),
        ([], "lodestar: E300 the following arguments are required: COMMAND"),
        (["data", "vlidate"], "lodestar data: E300 argument COMMAND: no choice 'vlidate'; did you mean validate?"),
        (["data", "fetsh", "movielens-1m"], "did you mean fetch?"),
        (["data", "validate", "--dta", "clicks.csv"], "lodestar data validate: E300 unknown argument '--dta'; did you mean --data?"),
        (["data", "validate", "--dat", "clicks.csv"], "lodestar data validate: E300 unknown argument '--dat'; did you mean --data?"),
        (["data", "validate"], "lodestar data validate: E300 the following arguments are required: --data"),
        (["data", "validate", "--data", "--x"], "expected one argument; where the value begins with a dash, write --data=VALUE"),
        (["data", "validate", "--data", "caf\udce9.csv"], "lodestar: E300 'caf\\udce9.csv' is not UTF-8: rename the file"),
        (["data", "ingest", "--data", "x", "--output", ""], "argument --output: is empty"),
        (["simulate", "--output", "s3://b/x"], "argument --output: 's3://b/x' is not a path on this machine"),
        (["simulate", "--users", "1e3", "--output", "x"], "argument --users: needs a whole number from 5 to 10,000,000, got '1e3'"),
        (
            ["features", "leak-test", "--data", "x", "--seed=-1"],
            "argument --seed: needs a whole number from 0 to 9,223,372,036,854,775,807, got '-1'",
        ),
        (["run", "--destnation", "x"], "lodestar run: E300 unknown argument '--destnation'; did you mean --destination?"),
        (["run", "--endpoint", "pipelines"], "argument --endpoint: 'pipelines' is no address of a server; write https://HOST"),
        (["compile", "--registry", "a b"], "argument --registry: 'a b' is no registry of images"),
        (["serve", "--bundle", "b", "--prot=1"], "lodestar serve: E300 unknown argument '--prot=1'; did you mean --port?"),
        (["serve", "--bundle", "b", "--host", ""], "argument --host: '' is no IP address or name"),
        (["recipes", "--zzzz"], "lodestar recipes: E300 unknown argument '--zzzz'"),
        (["recipes", "n" * 9000], f"lodestar recipes: E300 unknown argument '{'n' * 59}…'"),
        (["step", "gate", "--evalution", "x", "--verdict", "y"], "E300 unknown argument '--evalution'; did you mean --evaluation?"),
    ],
)
def test_a_wrong_word_is_said_with_a_code_and_the_nearest(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="2"):
        main(typed)
    lines = capsys.readouterr().err.splitlines()
    assert said in next(line for line in lines if "E300 " in line)
    assert max(len(line) for line in lines if "E300 " not in line) <= 80
    assert lines[0].startswith("usage: ")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["run", "--recipe", "sasrek"], "E190 no recipe 'sasrek'; did you mean sasrec?"),
        (["run", "--overrides", '{"train": {"epoch": 3}}'], "E180 train has no field 'epoch'; did you mean epochs?"),
        (["run", "--overrides", '{"trian": {}}'], "E180 a recipe has no section 'trian'; did you mean train?"),
        (["run", "--map", "usr_id=uid"], "the contract has no column 'usr_id'; did you mean user_id?"),
        (["run", "--data", ""], "the address of the data is empty"),
        (["run", "--data", "simulator:usrs=5"], "the simulator has no setting 'usrs'; did you mean users?"),
    ],
)
def test_an_unknown_name_suggests_the_nearest_and_its_list_fits_the_screen(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 2
    first, *listed = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("20")]
    assert said in first
    assert [line for line in listed if len(line) > 80] == []
    assert bool(listed) == ("There are:" in first)
