"""What a command writes never replaces something that it did not write itself."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.main import main
from lodestar.compression.run import compress
from lodestar.data.datasets import downloads
from lodestar.data.ingest import ingest
from lodestar.errors import UsageError
from lodestar.evaluation.run import evaluate
from lodestar.io import storage
from lodestar.recipes import get_recipe
from lodestar.training.run import train
from tests.unit.test_features import built

TINY, NONE = get_recipe("tiny"), Path("none")
WRITERS: dict[str, Callable[[Path], object]] = {
    "features": lambda target: main(["features", "build", "--tables", "none", "--output", str(target)]),
    "tables": lambda target: ingest("none", target),
    "evaluation": lambda target: evaluate(NONE, NONE, target, TINY),
    "compressed bundle": lambda target: compress(NONE, NONE, target, TINY),
    "bundle": lambda target: train(built(target.parent, [("u", "i", 1)]), target, TINY, "none"),
    "data set": lambda target: downloads.fetch("movielens-100k", target),
}


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("is_file", [True, False])
def test_a_folder_or_file_of_others_is_kept(writer: str, is_file: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine"
    (target if is_file else target / "thesis.txt").parent.mkdir(exist_ok=True)
    (target if is_file else target / "thesis.txt").write_text("years of work")
    before = content(tmp_path)
    try:
        assert WRITERS[writer](target) == 2
        said = capsys.readouterr().err
    except UsageError as error:
        said = str(error)
    assert f"E301 {target} is " in said
    assert {name: text for name, text in content(tmp_path).items() if name.startswith("mine")} == before


def test_tables_are_not_replaced_by_the_features_made_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = str(tmp_path / "tables")
    assert main(["data", "ingest", "--data", "simulator:users=30,items=50,events=800", "--output", tables]) == 0
    before = sorted(tmp_path.rglob("*"))
    assert main(["features", "build", "--tables", tables, "--output", tables]) == 2
    assert "E301" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_missing_empty_or_an_earlier_version_may_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "sequences.npz").touch()
    for name in ("missing", "empty", "earlier"):
        storage.refuse_other_folder(tmp_path / name, "sequences.npz")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(UsageError, match="E301"):
        storage.refuse_other_folder(tmp_path / "dangling", "sequences.npz")


def test_a_page_replaces_no_folder_pipe_or_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    for name in (".", "pipe", "stdout"):
        assert main(["data", "profile", "--data", "simulator", "--output", str(tmp_path / name)]) == 2
        assert "E301" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "stdout"]
    with pytest.raises(UsageError, match="E301"), storage.publish_file(tmp_path / "pipe"):
        raise AssertionError


def test_a_compiled_pipeline_replaces_its_predecessor_whole_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "pipeline.yaml"
    target.write_text("before")
    assert main(["compile", "--output", str(target), "--memory", "train=much"]) == 2
    assert target.read_text() == "before"
    assert main(["compile", "--output", str(target)]) == 0
    assert target.read_text().startswith("#")
    (tmp_path / "folder.yaml").mkdir()
    assert main(["compile", "--output", str(tmp_path / "folder.yaml")]) == 2
    assert "E301" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.yaml", "pipeline.yaml"]
