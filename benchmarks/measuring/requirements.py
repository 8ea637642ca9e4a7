"""What a benchmark needs beside Lodestar: without it the benchmark says so in one line and ends with exit code 0."""

import sys
from importlib.util import find_spec
from typing import NoReturn

INSTALL = "uv pip install --constraints constraints.txt --editable '.[dev]'"
SKIPPED = "skipped: this needs"


def skip(need: str) -> NoReturn:
    """End the benchmark; `need` names what is missing, and the command that installs it."""
    sys.stdout.write(f"{SKIPPED} {need}\n")
    sys.exit(0)


def require(*modules: str, install: str = INSTALL) -> None:
    """Skip the benchmark unless these modules can be imported."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        skip(f"{', '.join(missing)}: {install}")
