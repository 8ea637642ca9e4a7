"""How a command ends: an error that its user or the machine causes is one line with a code, and no stack trace."""

import contextlib
import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TextIO

from lodestar.errors import EnvironmentFault, LodestarError
from lodestar.process.safe_text import write_stderr

INTERRUPTED = 128 + signal.SIGINT
CLOSED_PIPE = 128 + signal.SIGPIPE  # as a shell reports a program that wrote to a closed pipe
NO_SPACE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
NO_PERMISSION_ERRNOS = frozenset({errno.EACCES, errno.EPERM})
WRONG_PATH_ERRNOS = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ENAMETOOLONG, errno.ELOOP, errno.ETXTBSY, errno.EBUSY}
)
LIMIT_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


def run_command(program: str, command: Callable[[], int]) -> int:
    """Run a command; its exit code, or that of the error that ended it, which is written to standard error as one message.

    130 after Ctrl-C, 141 if nobody reads its output any more. Errors that no user and no machine can cause are raised.
    """
    try:
        code = command()
        sys.stdout.flush()
    except LodestarError as error:
        return _report(program, error)
    except KeyboardInterrupt:
        return _say(f"{program}: stopped\n", INTERRUPTED)
    except OSError as error:
        if isinstance(error, BrokenPipeError | ConnectionResetError) and (_is_closed(sys.stdout) or _is_closed(sys.stderr)):
            _discard_unwritten()
            return CLOSED_PIPE
        if (fault := fault_of(error)) is None:
            raise
        return _report(program, fault)
    return code


def fault_of(error: OSError) -> EnvironmentFault | None:
    """The fault that an error of the operating system is for its user: E506, E521, E522 or E523; None where it is a fault of ours."""
    place, reason = (error.filename2 or error.filename, error.strerror or str(error))
    name = os.fsdecode(place) if isinstance(place, str | bytes | os.PathLike) else ""
    if error.errno in NO_SPACE_ERRNOS:
        return EnvironmentFault(
            "E506", f"{name or 'the output'} cannot be written ({reason})", remedy="Free disk space there and run the same command again."
        )
    if error.errno in NO_PERMISSION_ERRNOS and name:
        remedy = "Give another path, or have its owner grant this account access."
        return EnvironmentFault("E521", f"this account may not read or write {name} ({reason})", remedy=remedy)
    if error.errno in WRONG_PATH_ERRNOS and name:
        return EnvironmentFault("E522", f"{name} is not a path that can be used here ({reason})", remedy="Give another path.")
    if error.errno in LIMIT_ERRNOS:
        remedy = "See the limits with ulimit -a, raise them or end other processes, and run the same command again."
        return EnvironmentFault("E523", f"a limit of this machine or account is reached ({reason})", remedy=remedy)
    return None


def _report(program: str, error: LodestarError) -> int:
    return _say(f"{program}: {error}\n", error.exit_code)


def _say(text: str, code: int) -> int:
    with contextlib.suppress(OSError):  # nobody can be told
        write_stderr(text)
    _discard_unwritten()
    return code


def _discard_unwritten() -> None:
    """Send what is buffered and cannot be written nowhere, so that Python does not fail on it when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _is_closed(stream: TextIO) -> bool:
    """Whether nobody reads a stream any more, as after `| head -1`."""
    with contextlib.suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    return False
