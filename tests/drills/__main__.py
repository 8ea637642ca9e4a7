"""Run the drills whose results are not there yet: `python -m tests.drills [NAME ...] [--again]`; the same call goes on where it was."""

import argparse
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from lodestar.io import storage
from tests.drills.drills import DRILLS, run

RESULTS = Path(__file__).with_name("results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where every drill asked for holds, 1 where one does not; the result of each lies in a file once it has passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description="Run the tests that take longer than ten seconds.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRILLS)} (default: all)")
    parser.add_argument("--again", action="store_true", help="run those too whose results are there")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - DRILLS.keys())
    if unknown:
        parser.error(f"no drill is called {', '.join(unknown)}; there are {', '.join(DRILLS)}")
    asked = [(name, seed) for name in options.names or DRILLS for seed in DRILLS[name].seeds]
    failed = [place for place in asked if not _passes(*place, again=options.again)]
    sys.stdout.write(f"{len(asked) - len(failed)} passed, {len(failed)} failed\n")
    return int(bool(failed))


def _passes(name: str, seed: int, *, again: bool) -> bool:
    file = RESULTS / f"{name}-{seed}.json"
    if file.is_file() and not again:
        sys.stdout.write(f"{name} {seed}: passed before, see {file.name}\n")
        return True
    sys.stdout.write(f"{name} {seed}: running\n")
    sys.stdout.flush()
    try:
        result = run(name, seed, DRILLS[name].cases)
    except Exception:  # an entry point: the other drills are still to be run
        file.unlink(missing_ok=True)
        sys.stdout.write(f"{name} {seed}: failed\n{traceback.format_exc()}\n")
        return False
    storage.put(f"{json.dumps(result, indent=2, sort_keys=True)}\n".encode(), str(file))
    sys.stdout.write(f"{name} {seed}: passed, {json.dumps(result)}\n")
    return True


if __name__ == "__main__":
    sys.exit(main())
