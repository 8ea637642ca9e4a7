"""A folder or a file appears whole, replaces whole, or does not appear."""

from pathlib import Path

import pytest

from lodestar import storage


def test_a_folder_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    with storage.publish_folder(tmp_path / "out") as work:
        (work / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), storage.publish_folder(tmp_path / "out") as work:
        (work / "a").write_text("new")
        _ = 1 / 0
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["old"]


def test_publishing_again_replaces_the_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with storage.publish_folder(tmp_path / "out") as work:
            (work / name).write_text(name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_fails_is_not_seen(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage.publish_file(tmp_path / "x") as work:
        work.write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_the_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    def made(name: str, content: str) -> str:
        root = tmp_path / f"{name}{content}"
        root.mkdir()
        (root / name).write_text(content)
        return storage.digest(root)

    assert len({made("a", "1"), made("a", "2"), made("b", "1")}) == 3
