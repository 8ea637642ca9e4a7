"""How commands end: what their user or the machine causes is one coded message, and faults of ours keep their stack trace."""

import errno
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from lodestar.errors import UsageError
from lodestar.io.exits import fault_of, run_command
from lodestar.process.termination import exit_on_termination


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("number", "name", "code"),
    [
        (errno.ENOSPC, "tables/events.parquet", "E506"),
        (errno.EROFS, None, "E506"),
        (errno.EACCES, "tables", "E521"),
        (errno.EPERM, b"tables", "E521"),
        (errno.ENOTDIR, "file/tables", "E522"),
        (errno.ENAMETOOLONG, "n" * 300, "E522"),
        (errno.EISDIR, "folder", "E522"),
        (errno.EMFILE, None, "E523"),
        (errno.ENOMEM, None, "E523"),
    ],
)
def test_an_error_of_the_operating_system_is_a_message_with_its_path(
    number: int, name: str | bytes | None, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = OSError(number, os.strerror(number), *([name] if name else []))
    assert run_command("lodestar x", lambda: raising(error)) == 5
    said = capsys.readouterr().err
    assert said.startswith(f"lodestar x: {code} ")
    assert os.strerror(number) in said
    assert (os.fsdecode(name) if name else "the output" if code == "E506" else "limit") in said


def test_a_file_that_is_moved_is_named_by_where_it_was_to_go(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as found:
        (tmp_path / "file").replace(tmp_path / "folder")
    assert f"{tmp_path / 'folder'} is not a path" in str(fault_of(found.value))


@pytest.mark.parametrize("error", [OSError("odd"), OSError(errno.EACCES, "no file is named"), ConnectionResetError(), ValueError("x")])
def test_a_fault_of_ours_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        run_command("lodestar x", lambda: raising(error))


def test_a_coded_error_ends_with_its_exit_code_and_ctrl_c_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("lodestar x", lambda: raising(UsageError("no recipe", code="E190"))) == 2
    assert run_command("lodestar x", lambda: raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "lodestar x: E190 no recipe\nlodestar x: stopped\n"


@pytest.mark.parametrize("unread", ["", "unread"])
@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_command_ends_quietly_where_nobody_reads_its_socket(
    family: socket.AddressFamily, unread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a shell's that is remote; one that goes with something unread resets the connection."""
    ours, theirs = _connected(family)
    with os.fdopen(ours.detach(), "w") as output:
        output.write(unread)
        output.flush()
        theirs.close()
        monkeypatch.setattr(sys, "stdout", output)

        def write() -> int:
            for _ in range(1000):
                sys.stdout.write("x" * 1000)
                sys.stdout.flush()
            return 0

        assert run_command("lodestar x", write) == 141
        monkeypatch.undo()


def _connected(family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_runs_what_is_to_be_undone(number: signal.Signals) -> None:
    before, undone = signal.getsignal(number), []
    with pytest.raises(SystemExit) as ended, exit_on_termination():
        try:
            os.kill(os.getpid(), number)
        finally:
            undone.append(number)
    assert (ended.value.code, undone) == (128 + number, [number])
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exit_on_termination():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
