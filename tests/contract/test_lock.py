"""What images install is what is pinned, each file by its hash; and what is known against it is asked where there is an answer."""

import hashlib
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from components.images.locked import REQUIREMENTS_HASH

ROOT = Path(__file__).parents[2]
ROLES = ("serve", "launcher", "features", "train")
FILES = (*ROLES, "torch", "build")
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)[^\\\n]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", flags=re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Package to version; fails where a line is no pin with a hash."""
    content = (ROOT / "requirements" / f"{name}.txt").read_text()
    assert PIN.sub("", content) == ""
    return {package: version for package, version, _ in PIN.findall(content)}


@pytest.mark.parametrize("name", FILES)
def test_versions_are_those_of_the_constraints(name: str) -> None:
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert pins(name).items() <= constraints.items()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_installs_all_that_it_asks_for(role: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"][role]]
    assert {re.split(r"[<>=\[]", entry)[0] for entry in wanted} <= pins(role).keys()


def test_what_is_installed_is_part_of_every_images_tag() -> None:
    """Which is a hash of the packages: new requirements under an old tag would hit a cache's old results."""
    content = b"".join(file.read_bytes() for file in sorted((ROOT / "requirements").glob("*.txt")))
    assert hashlib.sha256(content).hexdigest() == REQUIREMENTS_HASH, "type `make lock`"


def test_the_layer_below_training_is_part_of_it() -> None:
    assert pins("torch").items() <= pins("train").items()
    assert {"torch", "triton", "nvidia-cublas", "nvidia-nccl-cu13"} <= pins("torch").keys()


def test_images_install_nothing_without_a_hash() -> None:
    commands = re.findall(r"pip (?:install|wheel)[^&\n]*", (ROOT / "Containerfile").read_text())
    assert len(commands) > len(FILES)
    for command in commands:
        is_own = "--no-deps" in command and ("/wheels/*.whl" in command or command.endswith("/source"))
        is_built_here = not command.startswith("pip wheel") or "--no-build-isolation" in command
        assert (is_own and is_built_here) or re.search(r"--require-hashes .*-r /requirements/(\w+)\.txt", command), command


@pytest.mark.parametrize(
    ("says", "exit_code", "expected"),
    [
        ("exec sleep 60", 0, "skipped, no advisories answer here"),
        ("echo ERROR: no connection; exit 1", 0, "skipped, no advisories answer here: ERROR: no connection"),
        ("echo No known vulnerabilities found", 0, "skipped, no advisories answer here"),
        ('case "$*" in *tmp*) echo setuptools PYSEC-2022-43012; exit 1;; esac', 0, "no known vulnerabilities in requirements/build.txt"),
        ("echo setuptools PYSEC-2022-43012; exit 1", 1, "PYSEC-2022-43012"),
    ],
)
def test_what_is_known_against_it_fails_and_silence_is_said(tmp_path: Path, says: str, exit_code: int, expected: str) -> None:
    fake = tmp_path / "pip-audit"
    fake.write_text(f"#!/bin/sh\n{says}\n")
    fake.chmod(0o755)
    environment = {**os.environ, "AUDIT": str(fake), "PROBE_S": "1", "TMPDIR": "/tmp"}
    done = subprocess.run([ROOT / ".ci" / "audit"], env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, expected in done.stdout) == (exit_code, True), done.stdout + done.stderr
