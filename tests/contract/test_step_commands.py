"""A step as a plain command: what it takes may lie in a bucket, and what it makes lies here."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
import pytest
from redis import Redis

from components.__main__ import main
from components.release.release import release
from feature_repo.stores.generations import Generations
from lodestar import schema
from lodestar.bundle import bundle
from lodestar.io import storage
from lodestar.io.private_folders import temporary_folder
from lodestar.schema.store_keys import rows_key
from serving.features.feature_client import GenerationMissing
from tests.contract.conftest import BUCKET, ROOT, generation_of
from tests.contract.generation_harness import EARLY, LATE, histories, made
from tests.factories import small_bundle
from tests.unit.test_features import built

STARTED_AT = "2026-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("features"), [("u0", "i1", 10), ("u0", "i2", 20), ("u1", "i1", 30)])


@pytest.fixture(scope="module")
def trained(features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("trained") / "bundle", features=generation_of(features))


@pytest.fixture(autouse=True)
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds workspaces, which is this test's alone."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return temporary_folder("work")


def laid(folder: Path, name: str) -> str:
    """Objects below an address as a Pipelines launcher leaves an artifact: without a version or a mark."""
    for file in (file for file in folder.rglob("*") if file.is_file()):
        boto3.client("s3").upload_file(str(file), BUCKET, f"{name}/{file.relative_to(folder)}")
    return f"s3://{BUCKET}/{name}"


def publish(made: str | Path, features: str | Path, destination: str | Path) -> int:
    options = {"bundle": made, "features": features, "destination": destination, "service": "", "started_at": STARTED_AT}
    return main(["publish", *(word for name, value in options.items() for word in (f"--{name}", str(value)))])


@pytest.mark.parametrize("how", ["as a launcher leaves it", "published", "a version"])
def test_publish_takes_a_bundle_and_features_from_a_bucket(
    how: str, bucket: str, trained: Path, features: Path, tmp_path: Path, private: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "as a launcher leaves it":
        given = laid(trained, f"{tmp_path.name}/bundle"), laid(features, f"{tmp_path.name}/features")
    else:
        named = [f"{bucket}/{tmp_path.name}/{name}" for name in ("bundle", "features")]
        versions = [storage.upload(folder, address) for folder, address in zip((trained, features), named, strict=True)]
        given = (named[0], named[1]) if how == "published" else (versions[0], versions[1])
    assert publish(*given, tmp_path / "out") == 0
    (released,) = capsys.readouterr().out.splitlines()
    assert bundle.load(Path(released)).digest == bundle.load(trained).digest
    assert released == str((tmp_path / "out" / "current" / "bundle").resolve())
    assert not list(private.iterdir())


def test_an_older_generation_is_filled_again_from_a_bucket_and_the_current_one_stays(
    bucket: str, redis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the guide says to type after a Redis was flushed and a bundle was rolled back."""
    monkeypatch.setenv("LODESTAR_REDIS", redis)
    port, server = int(redis.partition(":")[2]), Redis.from_url(f"redis://{redis}")
    given, addresses = [], []
    for day, rows in enumerate((EARLY, LATE), 1):
        (tmp_path / f"day{day}").mkdir()
        given.append(made(tmp_path / f"day{day}", rows))
        # pyrefly: ignore[bad-argument-count]
        addresses.append(release(*given[-1], f"{bucket}/{tmp_path.name}/bundles", f"2026-01-0{day}T00:00:00Z"))
    older, newer = given
    before = histories(port, older)
    server.delete(*(rows_key(schema.FEAST_PROJECT, older.generation, view) for view in schema.VIEWS))
    with pytest.raises(GenerationMissing):
        histories(port, older)
    assert publish(addresses[0], laid(older.features, f"{tmp_path.name}/features"), tmp_path / "refilled") == 0
    assert histories(port, older) == before
    assert Generations(server, schema.FEAST_PROJECT).current() == newer.generation


def test_a_version_that_was_damaged_is_not_published(
    bucket: str, trained: Path, features: Path, tmp_path: Path, private: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = storage.upload(trained, f"{bucket}/{tmp_path.name}")
    storage.put(b"{}", f"{version}/bundle.json")
    assert publish(version, features, tmp_path / "out") == 5
    assert "E511" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not list(private.iterdir())


def test_an_address_with_nothing_there_is_named(
    bucket: str, features: Path, tmp_path: Path, private: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(f"{bucket}/{tmp_path.name}/bundle", features, tmp_path / "out") == 5
    assert f"lodestar step: E510 nothing is stored at {bucket}/{tmp_path.name}/bundle" in capsys.readouterr().err
    assert publish("s3://", features, tmp_path / "out") == 2
    assert not list(private.iterdir())


def test_an_output_in_a_bucket_is_refused_and_a_local_one_is_not(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"u{user},i{item},view,2026-01-0{item + 1}T0{user}:00:00Z" for user in range(5) for item in range(5)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,event_type,event_time", *rows]) + "\n")
    command = ["ingest", "--data", "events.csv", "--data_version", "1", "--quarantine", "false", "--report", "report.md"]
    assert main([*command, "--tables", f"{bucket}/made/tables"]) == 2
    said = capsys.readouterr().err
    assert f"E576 --tables {bucket}/made/tables is not a local path" in said
    assert "Give --tables ./tables, and copy it there" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["events.csv", "tmp"]
    assert main([*command, "--tables", "./tables"]) == 0
    assert (tmp_path / "tables" / "manifest.json").is_file()


def test_a_step_that_is_ended_while_it_downloads_an_input_leaves_nothing(tmp_path: Path, private: Path) -> None:
    program = """
import sys, time
from components.__main__ import main
from lodestar.io import storage

def fetch(address, folder):
    folder.mkdir()
    (folder / "half").write_text("half")
    print("downloads", flush=True)
    time.sleep(600)

storage.fetch = fetch
main(["gate", "--evaluation", "s3://models/evaluation", "--verdict", sys.argv[1]])
"""
    command = [sys.executable, "-c", program, str(tmp_path / "verdict.md")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "downloads\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert not list(private.iterdir())
