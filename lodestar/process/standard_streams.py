"""Standard input, output and error as a command needs them: open, and able to write any text."""

import io
import os
import sys

NAMES = ("stdin", "stdout", "stderr")  # by descriptor


def prepare_standard_streams() -> None:
    """Open a closed standard stream on /dev/null, and have characters that an encoding lacks written as escape codes.

    Without it a file or socket that is opened later would get the free descriptor, and with it whatever a library writes there.
    """
    for number, name in enumerate(NAMES):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115  # to the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
