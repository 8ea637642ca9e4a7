"""A download resumes where it was, for one process at a time, and leaves nothing of what it was before."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lodestar.errors import EnvironmentFault
from lodestar.io.download import download_resumable


def giving(content: bytes) -> Callable[[int], Iterator[bytes]]:
    def read(start: int) -> Iterator[bytes]:
        yield content[start:]

    return read


def stopped(target: Path, tag: str) -> None:
    """Half of what should come has come."""

    def read(start: int) -> Iterator[bytes]:
        yield b"half"[start:]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_resumable(target, size=8, tag=tag, read=read)


def test_what_came_of_another_content_goes(tmp_path: Path) -> None:
    stopped(tmp_path / "a", "old")
    download_resumable(tmp_path / "a", size=3, tag="new", read=giving(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_second_process_is_refused_what_the_first_downloads(tmp_path: Path) -> None:
    def read(_start: int) -> Iterator[bytes]:
        with pytest.raises(EnvironmentFault, match="E513"):
            download_resumable(tmp_path / "a", size=5, tag="same", read=giving(b"whole"))
        yield b"whole"

    download_resumable(tmp_path / "a", size=5, tag="same", read=read)
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_a_name_as_long_as_there_can_be_is_downloaded(tmp_path: Path) -> None:
    download_resumable(tmp_path / ("n" * 255), size=1, tag="t", read=giving(b"x"))
    assert [len(path.name) for path in tmp_path.iterdir()] == [255]


def test_a_link_in_the_place_of_a_part_is_not_written_through(tmp_path: Path) -> None:
    stopped(tmp_path / "a", "t")
    (part,) = tmp_path.iterdir()
    part.unlink()
    part.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFault, match="E567"):
        download_resumable(tmp_path / "a", size=1, tag="t", read=giving(b"x"))
    assert not (tmp_path / "elsewhere").exists()
