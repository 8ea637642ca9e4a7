"""A folder or a file appears whole, replaces whole, or does not appear; who reads beside it sees the old or the new, and never nothing."""

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lodestar.errors import EnvironmentFault
from lodestar.io import atomic_publish, storage


def publish(target: Path, content: str, name: str = "a") -> None:
    with storage.publish_folder(target) as work:
        (work / name).write_text(content)


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
        raise ZeroDivisionError
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["old"]


def test_publishing_again_replaces_the_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(tmp_path / "out", name, name)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@contextmanager
def beside(read: Callable[[], str]) -> Iterator[set[str]]:
    """What is read by others all the while, errors among it."""
    seen, is_over = set[str](), threading.Event()

    def go_on() -> None:
        while not is_over.is_set():
            try:
                seen.add(read())
            except OSError as error:
                seen.add(type(error).__name__)

    readers = [threading.Thread(target=go_on) for _ in range(2)]
    for reader in readers:
        reader.start()
    yield seen
    is_over.set()
    for reader in readers:
        reader.join()


def test_who_reads_while_a_folder_is_replaced_never_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seen = tmp_path / "out", list[str]()
    publish(target, "old")

    def looked_at(call: Callable[..., None]) -> Callable[..., None]:
        def after(*arguments: Path, **options: int) -> None:
            call(*arguments, **options)
            seen.append((target / "a").read_text())

        return after

    for name in ("rename", "replace", "rmdir", "unlink"):
        monkeypatch.setattr(os, name, looked_at(getattr(os, name)))
    publish(target, "new")
    assert seen
    assert set(seen) <= {"old", "new"}


def test_a_digest_is_of_one_folder_though_it_is_replaced_meanwhile(tmp_path: Path) -> None:
    target, digests = tmp_path / "out", set[str]()
    for name in ("a", "b"):
        publish(target, name, name)
        digests.add(storage.digest(target))
    with beside(lambda: storage.digest(target)) as seen:
        for name in ("a", "b") * 15:
            publish(target, name, name)
    assert seen == digests


def test_who_holds_a_folder_reads_it_to_its_end_and_then_it_goes(tmp_path: Path) -> None:
    target = tmp_path / "out"
    publish(target, "old")
    held = storage.open_handle(target)
    publish(target, "new")
    publish(target, "newer")
    assert ((held.path / "a").read_text(), (target / "a").read_text()) == ("old", "newer")
    del held
    publish(target, "newest")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_second_process_is_refused_the_same_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with storage.publish_folder(target) as work:
        with pytest.raises(EnvironmentFault, match="E513"):
            publish(target, "second")
        (work / "a").write_text("first")
    assert (target / "a").read_text() == "first"


def test_an_error_in_a_locked_folder_is_its_own_and_not_about_the_lock(tmp_path: Path) -> None:
    """A pipeline's whole run holds such a lock, and whatever it reads without waiting may have nothing yet."""
    for locked in (storage.lock_folder, storage.try_lock):
        with pytest.raises(BlockingIOError, match="mine"), locked(tmp_path):
            raise BlockingIOError("mine")
    with storage.try_lock(tmp_path) as is_first, storage.try_lock(tmp_path) as is_second:
        assert (is_first, is_second) == (True, False)
    with storage.lock_folder(tmp_path), pytest.raises(EnvironmentFault, match="E513"), storage.lock_folder(tmp_path):
        raise AssertionError


def test_what_killed_processes_left_goes_with_the_next(tmp_path: Path) -> None:
    for left in (".out.work/out/half", ".out.work/link", ".out.0123abcd.old/half"):
        (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / left).write_text("half")
    (tmp_path / ".out.work").chmod(0o700)
    (tmp_path / ".x.0123abcd.new").write_text("half")
    publish(tmp_path / "out", "whole")
    storage.put(b"whole", str(tmp_path / "x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x"]


def test_what_others_call_as_orphans_are_called_stops_no_publication(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    for name, kind in (("x", "new"), ("out", "old"), ("out", "version")):
        (tmp_path / f".{name}.00000000.{kind}").symlink_to("elsewhere")
        (tmp_path / f".{name}.00000001.{kind}").symlink_to("nowhere")
        os.mkfifo(tmp_path / f".{name}.00000002.{kind}")
    storage.put(b"x", str(tmp_path / "x"))
    publish(tmp_path / "out", "x")
    assert (tmp_path / "elsewhere" / "mine").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of another account")
def test_orphans_of_another_account_stay_and_stop_no_publication() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)
        theirs = [folder / ".x.00000000.new", folder / ".x.00000001.new", folder / ".out.00000000.old"]
        theirs[0].touch(0o600)
        theirs[1].touch(0o644)
        theirs[2].mkdir()
        os.seteuid(12345)
        try:
            storage.put(b"x", str(folder / "x"))
            publish(folder / "out", "x")
        finally:
            os.seteuid(0)
        assert {path.name for path in folder.iterdir()} == {"x", "out", *(path.name for path in theirs)}


def test_what_others_put_in_the_way_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / ".out.work").symlink_to("elsewhere")
    with pytest.raises(EnvironmentFault, match="E567"):
        publish(tmp_path / "out", "x")
    (tmp_path / ".open.work").mkdir()
    (tmp_path / ".open.work").chmod(0o2770)  # as a mount leaves it
    publish(tmp_path / "open", "x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def refuse_exchange(*_: Path) -> None:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def test_where_folders_cannot_be_exchanged_a_link_is_switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_publish, "_exchange", refuse_exchange)
    target = tmp_path / "out"
    publish(target, "1")
    publish(target, "2")
    assert target.is_symlink()
    with beside((target / "a").read_text) as seen:
        for content in ("3", "2") * 20:
            publish(target, content)
    assert seen == {"2", "3"}
    assert len(list(tmp_path.iterdir())) == 2  # the link, and what it leads to


def test_a_folder_has_the_rights_that_its_owner_wants(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        publish(tmp_path / "out", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700


def test_a_file_that_fails_is_not_seen(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), storage.publish_file(tmp_path / "x") as work:
        work.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_two_that_write_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    with storage.publish_file(tmp_path / "x") as work:
        work.write_text("first")
        storage.put(b"second", str(tmp_path / "x"))
        assert work.read_text() == "first"
    assert (tmp_path / "x").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_the_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    def made(name: str, content: str) -> str:
        root = tmp_path / f"{name}{content}"
        root.mkdir()
        (root / name).write_text(content)
        return storage.digest(root)

    assert len({made("a", "1"), made("a", "2"), made("b", "1")}) == 3


def test_files_go_into_a_folder_beside_what_is_there_and_none_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(ZeroDivisionError), storage.publish_files(tmp_path / "out") as work:
        (work / "a").write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]
    with storage.publish_files(tmp_path / "out") as work:
        (work / "a").write_text("whole")
        with pytest.raises(EnvironmentFault, match="E513"), storage.publish_files(tmp_path / "out"):
            raise AssertionError
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {"mine": "mine", "a": "whole"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_working_folder_is_named_by_a_dot_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with storage.publish_files(Path()) as work:
        (work / "a").touch()
    with storage.publish_folder(Path("..", "here", "inner", "..")) as work:
        (work / "b").touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["here", "here/b"]
