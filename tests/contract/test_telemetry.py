"""Libraries that report to their makers are told not to, in every process."""

import ast
import re
from pathlib import Path

import pytest

from lodestar.engine.onnx_runtime import DISABLE_TELEMETRY, onnxruntime
from tests.contract.conftest import ROOT
from tests.drills.connections import beyond_this_machine

ROOMS = ("lodestar", "components", "pipelines", "feature_repo", "serving", "cli", "benchmarks", "tests")


def test_onnx_runtime_is_imported_in_one_place_only() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert [str(path.relative_to(ROOT)) for path in files if _imports(path, "onnxruntime")] == ["lodestar/engine/onnx_runtime.py"]


def test_onnx_runtime_is_told_not_to_report_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLE_TELEMETRY, "0")
    program = (ROOT / "lodestar" / "engine" / "onnx_runtime.py").read_text()
    assert program.index("os.environ[DISABLE_TELEMETRY]") < program.index("import onnxruntime as module")
    assert onnxruntime().InferenceSession


def test_every_image_turns_reports_off() -> None:
    """By itself, or by the stage that it begins with."""
    stages = re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)(?=^FROM |\Z)", (ROOT / "Containerfile").read_text(), flags=re.MULTILINE | re.DOTALL)
    quiet: set[str] = set()
    for begins_with, name, content in stages:
        if begins_with in quiet or re.search(rf"^ENV .*\b{DISABLE_TELEMETRY}=1\b", content, flags=re.MULTILINE):
            quiet.add(name)
    assert {name for _, name, _ in stages} == quiet >= {"features", "spark", "train", "launcher", "serve"}


def test_an_address_beyond_this_machine_is_seen() -> None:
    near = [
        '1 connect(3, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = -1 ENOENT',
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0',
        '1 connect(3, {sa_family=AF_INET6, sin6_port=htons(80), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0',
    ]
    far = [
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = 0',
        '1 sendto(3, "x", 1, 0, {sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28) = 1',
    ]
    assert beyond_this_machine([*near, *far]) == far


def _imports(path: Path, module: str) -> bool:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return any(name.partition(".")[0] == module for name in names)
