"""The guide on describing files is run as it stands: its files are written, its commands typed, and what they say is compared."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.factories import ROOT, write_files

GUIDE = ROOT / "docs" / "describing.md"
FILE = re.compile(r"^`([\w./-]+)`\n\n```csv\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def transcript() -> list[tuple[str, str]]:
    """Each command of the guide, with what it says."""
    parts = [part for block in CONSOLE.findall(GUIDE.read_text()) for part in block.split("$ ") if part]
    return [(command, said) for command, _, said in (part.partition("\n") for part in parts)]


def test_the_commands_say_what_the_guide_says(tmp_path: Path) -> None:
    files = dict(FILE.findall(GUIDE.read_text()))
    assert len(files) == 2
    write_files(tmp_path, files)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lodestar").write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys, cli.main; sys.exit(cli.main.main())" "$@"\n'
    )
    (tmp_path / "bin" / "lodestar").chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for command, said in transcript():
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith('{"lodestar"')]  # progress
        assert lines == said.splitlines(), command
