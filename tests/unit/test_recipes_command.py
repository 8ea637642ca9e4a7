"""`lodestar recipes` on the narrowest of terminals, and where nobody reads on."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from lodestar.io.exits import CLOSED_PIPE
from lodestar.recipes import MEASURED, RECIPES


def test_each_recipe_begins_a_line_with_its_last_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in RECIPES:
        (line,) = (line for line in lines if line.split(" ")[0] == name)
        assert all(f"{value:.4f}".lstrip("0") in line.split() for value in MEASURED.get(name, ()))


def test_a_script_gets_each_recipe_on_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, make in RECIPES.items():
        (line,) = (line for line in lines if line.split(" ")[0] == name)
        assert line.endswith((make.__doc__ or "").strip())


def test_a_closed_pipe_ends_it_quietly() -> None:
    program = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main(['recipes']))"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == CLOSED_PIPE
