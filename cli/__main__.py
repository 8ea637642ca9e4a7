"""The `lodestar` command, or `python -m cli`: Ctrl-C ends it without a stack trace even while its modules are imported."""

import signal
import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is written yet that would have to be undone
    from cli.main import main as command_line
    from lodestar.process.termination import restore_handler

    restore_handler(signal.SIGINT, before)
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
