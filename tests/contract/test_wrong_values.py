"""Values that have the right form and are wrong: each command says so with a code, ends with its exit code, and writes nothing."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import main
from tests.factories import ROOT

JOB = "training-job --name t --namespace n --image i --recipe tiny --features s3://b/f --destination s3://b/d --checkpoints s3://b/c"
BUNDLE = "serve --port 0 --bundle bundle"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a file, a folder, an empty feature log and a damaged study."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("text")
    (tmp_path / "log.jsonl").touch()
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (f"{JOB} --recipe tinny", "E190", "did you mean tiny?"),
        (f"{JOB} --overrides {json.dumps({'train': {'epoch': 1}}).replace(' ', '')}", "E180", "did you mean epochs?"),
        (f"{JOB} --features features", "E314", "--features features"),
        ("tune --features s3://b/f --katib image --destination local", "E314", "--destination local"),
        ("tune --features features --katib image", "E314", "--features features"),
        ("tune --features s3://b/f", "E314", "--features s3://b/f"),
        ("tune --features features --destination s3://b/t", "E303", "--destination is with --katib only"),
        ("run folder", "E309", "give data as --data folder"),
        ("run --recipe= --data file", "E190", "no recipe ''"),
        ("data validate --data s3://bucket/events", "E569", "Invalid endpoint: nonsense"),
        ("features skew-test --feature-log log.jsonl --tables folder", "E201", "the feature log has no rows"),
        ("features skew-test --feature-log binary.jsonl --tables folder", "E109", "binary.jsonl, line 1"),
    ],
)
def test_a_wrong_value_is_said_with_a_code_and_nothing_written(
    typed: str, code: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    assert main(typed.split()) in {2, 3, 5}
    error = capsys.readouterr().err
    assert f" {code} " in error
    assert said in error
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (f"{BUNDLE} --impressions s3://", "E315", "'s3://' has no valid bucket"),
        (f"{BUNDLE} --impressions file --feature-log file", "E561", "both to be file"),
        ("collect --port 0 --output s3:///landing", "E315", "'s3:///landing' has no valid bucket"),
        ("collect --port {port} --metrics-port {port} --output landing", "E503", "(Address already in use)"),
        ("features build --tables folder --output features --spark nonsense[", "E524", "Spark cannot start"),
    ],
)
def test_a_program_of_several_threads_says_it_as_well(typed: str, code: str, said: str) -> None:
    """Run as a process of its own: servers block signals, and Spark starts another process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        words = typed.format(port=free.getsockname()[1]).split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "cli", *words], capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert done.returncode in {2, 5}, done.stderr
    assert f" {code} " in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", ["text", "- list", "a: [", "clusters: 3"])
def test_a_kubeconfig_that_is_none_is_said(
    content: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "kubeconfig").write_text(content)
    for path in (folder / "kubeconfig", folder):
        monkeypatch.setenv("KUBECONFIG", str(path))
        assert main(["rollout", "status", "--service", "lodestar/recommend"]) == 5
        assert "E534 no Kubernetes cluster is configured" in capsys.readouterr().err
