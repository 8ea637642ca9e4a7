"""Parent-death signal: a child process ends with its parent, even if the parent was killed by SIGKILL.

`python -m lodestar.process.parent_death PID PROGRAM…` becomes `python PROGRAM…`, and ends with the process of that id.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess

PR_SET_PDEATHSIG = 1


def set_parent_death_signal(parent: int) -> None:
    """Send SIGTERM to this process when its parent, of the id `parent`, ends (Linux prctl); no effect on other systems.

    SIGTERM is unblocked, since a parent that handles it in a thread has blocked it for its children too.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended before prctl was called
        os.kill(os.getpid(), signal.SIGTERM)


def end_with_starter() -> None:
    """End this process of `multiprocessing` when the process that started it ends, which may not be its parent but a fork server's.

    SIGTERM is unblocked here too.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    starter = multiprocessing.parent_process()
    if starter is not None:
        threading.Thread(target=_end_after, args=(starter,), daemon=True).start()


def _end_after(starter: BaseProcess) -> None:
    starter.join()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    set_parent_death_signal(int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606  # by its path, through no shell
