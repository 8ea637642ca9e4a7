"""Every command of the guide to a cluster is one that its tool takes, with files that are there."""

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kfp.cli.cli import cli

from cli.main import commands as lodestar_commands
from pipelines.recommend import compile_to
from tests.contract.guide_commands import GUIDE, TOOLS, commands
from tests.contract.kustomize import OVERLAYS, objects, rendered

ROOT = Path(__file__).parents[2]


def parsed(command: click.Command, arguments: list[str]) -> dict[str, Any]:
    """What kfp would be told; click.ClickException where it takes no such thing. Nothing is run, and no server asked."""
    context = command.make_context("kfp", list(arguments))
    while isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, [*getattr(context, "_protected_args", ()), *context.args])
        assert found is not None
        command = found
        context = command.make_context(command.name, rest, parent=context)
    return context.params


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def test_the_guide_has_commands_of_every_tool() -> None:
    assert all(commands(tool) for tool in TOOLS)


def test_kfp_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_to(tmp_path / "pipeline.yaml")
    monkeypatch.chdir(tmp_path)
    spec = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    names = spec["root"]["inputDefinitions"]["parameters"].keys()
    for words in commands("kfp"):
        given = parsed(cli, words)
        assert {argument.partition("=")[0] for argument in given["args"]} <= names
        if "recurring-run" in words:
            # What kfp makes without it is switched off, and says nothing of that.
            assert given["enabled"] is True
            assert len(given["cron_expression"].split()) == 6
    with pytest.raises(click.ClickException):
        parsed(cli, ["run", "create", "--experiment", "lodestar"])


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_make_has_the_target_and_the_variables(words: list[str]) -> None:
    run("make", "--dry-run", "--always-make", *words)
    content = (ROOT / "Makefile").read_text()
    for name in (word.partition("=")[0] for word in words if "=" in word):
        assert f"$({name})" in content


@pytest.mark.parametrize("words", commands("kubectl"), ids=" ".join)
def test_kubectl_takes_it_and_its_files_are_there(words: list[str]) -> None:
    options = [word for word in words if word.startswith("--")]
    for option, value in pairwise(words):
        path = ROOT / value
        if option == "-f" and value != "-":
            assert [thing for file in ([path] if path.is_file() else sorted(path.glob("*.yaml"))) for thing in objects(file)]
        elif option == "-k":
            assert rendered(path)
    for option in options:
        if option.startswith("--from-env-file="):
            assert (OVERLAYS.parent / "secrets" / option.partition("=")[2]).is_file()
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not here")
    start = next(place for place, word in enumerate(words) if word in {"apply", "create", "annotate", "label", "get", "describe", "logs"})
    verb = words[start : start + 3 if words[start + 1 : start + 2] == ["secret"] and words[start] == "create" else start + 1]
    known = run("kubectl", *verb, "--help") + run("kubectl", "options")
    for option in options:
        assert f"{option.partition('=')[0]}=" in known, option


def test_our_commands_take_them() -> None:
    """An option that does not exist ends a parser with SystemExit."""
    known = lodestar_commands()
    for words in commands("lodestar"):
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
        if name is not None and words[-1] != "--help":  # else a command is cited without its options
            known[name].parse_args(words[len(name.split()) :])


def test_what_is_cited_is_there() -> None:
    for path in re.findall(r"`((?:manifests|requirements|pipelines|docs)/[^`* ]*)`", GUIDE.read_text()):
        assert (ROOT / path).exists(), path
