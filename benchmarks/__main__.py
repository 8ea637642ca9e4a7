"""Run every benchmark with its defaults, which are small, one after the other; `make bench` does.

    python -m benchmarks [NAME ...]

What a benchmark prints is passed on. A table of seconds and outcomes follows; one that lacks a peer, a GPU or a data set says what it needs
and counts as skipped. The exit code is 1 if a benchmark failed. The sizes of published figures are options of each: see its --help.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring.requirements import SKIPPED

HERE, ERROR_CHARACTERS = Path(__file__).parent, 4_000
NAMES = tuple(sorted(file.stem for file in HERE.glob("*.py") if not file.stem.startswith("_")))


def run(name: str) -> str:
    """Run one benchmark and pass on what it prints, and its errors if it fails; its outcome: `ok`, `skipped` (also in part) or `FAILED`."""
    command, is_skipped = [sys.executable, "-u", str(HERE / f"{name}.py")], False
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=HERE.parent)
        for line in process.stdout or ():
            is_skipped = is_skipped or line.startswith(SKIPPED)
            print(line, end="", flush=True)
        if process.wait():
            errors.seek(0)
            print(errors.read()[-ERROR_CHARACTERS:], flush=True)
            return "FAILED"
    return "skipped" if is_skipped else "ok"


def main(arguments: list[str] | None = None) -> int:
    """Run the named benchmarks one after the other, and print the elapsed seconds of each; exit status 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    chosen = parser.parse_args(arguments).names or NAMES
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    outcomes: list[tuple[str, float, str]] = []
    for name in chosen:
        print(f"== {name}", flush=True)
        started = time.monotonic()
        outcome = run(name)
        outcomes.append((name, time.monotonic() - started, outcome))
    print("\n" + "\n".join(f"{name:16} {seconds:6.1f} s  {outcome}" for name, seconds, outcome in outcomes))
    print(f"{'together':16} {sum(seconds for _, seconds, _ in outcomes):6.1f} s")
    return int(any(outcome == "FAILED" for _, _, outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
