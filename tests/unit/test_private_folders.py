"""What is private is ours alone: no link is followed, no folder of another's used, and nothing stays of who was killed."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lodestar.errors import EnvironmentFault
from lodestar.io.private_folders import private_folder, private_folder_in, temporary_folder, workspace
from serving.collector.landing import Landing, open_spool
from serving.impressions import S3Log


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


def link(path: Path) -> None:
    (path.parent.parent / "elsewhere").mkdir()
    path.symlink_to(path.parent.parent / "elsewhere")


def of_another(path: Path) -> None:
    path.mkdir(mode=0o700)
    os.chown(path, 12345, -1)


@pytest.mark.parametrize("plant", [link, of_another, Path.touch])
def test_a_folder_that_others_made_first_is_not_used(system: Path, plant: Callable[[Path], None]) -> None:
    if plant is of_another and os.geteuid():
        pytest.skip("only root gives a folder to another")
    plant(system / f"lodestar-{os.geteuid()}")
    with pytest.raises(EnvironmentFault, match="E567"):
        temporary_folder("spool")
    with pytest.raises(EnvironmentFault, match="E567"), workspace():
        pass


@pytest.mark.parametrize("name", ["spool", "it's", "next\x85line", "caf\udce9", "\u202egnp"])
def test_a_name_that_is_not_to_be_seen_is_moved_away_as_the_remedy_says(system: Path, name: str) -> None:
    (system / name).touch()
    with pytest.raises(EnvironmentFault, match="E567") as found:
        private_folder(system / name)
    subprocess.run(["bash", "-c", re.search("mv .*", str(found.value))[0].removesuffix(".")], check=True)  # type: ignore[index]
    assert os.listdir(system) == [f"{name}.aside"]


def test_a_folder_is_for_its_owner_alone(system: Path) -> None:
    (system / "shown").mkdir(mode=0o755)
    for folder in (private_folder(system / "shown"), private_folder(system / "deep" / "made"), temporary_folder("spool")):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder_in(system / "shown") == system / "shown"


def test_rows_that_wait_are_found_where_a_mount_has_given_them_to_a_group(system: Path) -> None:
    (folder := private_folder(system / "spool") / "events").mkdir(mode=0o700)
    (folder / "part.open").write_text("row\n")
    for path in (folder.parent, folder):
        path.chmod(0o2770)
    open_spool(Landing(str(system / "landing")), folder.parent, 3600, print).close()
    assert [file.read_bytes() for file in (system / "landing/events").iterdir()]
    assert [path.stat().st_mode & 0o7777 for path in (folder.parent, private_folder(folder))] == [0o700, 0o700]


def test_the_remedy_for_what_is_in_the_way_keeps_it(system: Path) -> None:
    (system / "a spool").write_text("rows")
    with pytest.raises(EnvironmentFault) as caught:
        private_folder(system / "a spool")
    subprocess.run(str(caught.value.remedy).partition(": ")[2], shell=True, check=True)
    assert private_folder(system / "a spool").is_dir()
    assert (system / "a spool.aside").read_text() == "rows"


def test_in_a_volume_of_the_system_s_a_folder_is_ours(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        pytest.skip("only root makes such")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(EnvironmentFault, match="E567"):  # which is made as root here
        private_folder_in(system)
    assert (system / "lodestar").is_dir()


def test_a_workspace_goes_and_so_does_that_of_a_killed_process(system: Path) -> None:
    program = """
import os, signal
from lodestar.io.private_folders import workspace
with workspace() as folder:
    (folder / "x").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "TMPDIR": str(system)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == -9
    root = temporary_folder("work")
    assert len(list(root.iterdir())) == 1
    with workspace() as folder, workspace() as other:
        assert sorted(root.iterdir()) == sorted([folder, other])
    assert list(root.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="mine"), workspace():
        raise FileNotFoundError("mine")


@pytest.mark.parametrize(
    "begin",
    [
        lambda folder: open_spool(Landing(str(folder)), folder / "spool", 3600, print),
        lambda folder: S3Log(address="s3://nowhere/x", dropped=print, spool=folder / "spool"),
    ],
)
def test_rows_do_not_wait_where_others_can_read_or_replace_them(begin: Callable[[Path], object], system: Path) -> None:
    link(system / "spool")
    with pytest.raises(EnvironmentFault, match="E567"):
        begin(system)
    assert list((system.parent / "elsewhere").iterdir()) == []
