"""`lodestar recipes` on the narrowest of terminals."""

import pytest

from cli.main import main
from lodestar.recipes import MEASURED, RECIPES


def test_each_recipe_begins_a_line_with_its_last_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in RECIPES:
        (line,) = (line for line in lines if line.split(" ")[0] == name)
        assert all(f"{value:.4f}".lstrip("0") in line.split() for value in MEASURED.get(name, ()))
