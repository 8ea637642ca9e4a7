"""Processes that end with the one that started them, also where that one was killed and could not say so.

`python -m lodestar.parents PID PROGRAM…` becomes `python PROGRAM…`, and ends with the process of that id.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Have the system terminate this process when its parent, whose id that is, ends; nothing where the system cannot.

    SIGTERM is let through, which a parent that waits for it in a thread has blocked for its children too.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if os.getppid() != parent:  # it ended before that was asked for
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[1]))
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])  # noqa: S606  # by its path, through no shell
