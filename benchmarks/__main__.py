"""Run every benchmark with its defaults, which are small, one after the other; `make bench` does.

    python -m benchmarks [NAME ...]

What a benchmark prints is passed on. A table of seconds and outcomes follows; one that lacks a peer, a GPU or a data set says what it needs
and counts as skipped. The exit code is 1 if a benchmark failed. The sizes of published figures are options of each: see its --help.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measuring.requirements import SKIPPED

HERE = Path(__file__).parent
NAMES = tuple(sorted(file.stem for file in HERE.glob("*.py") if not file.stem.startswith("_")))


def run(name: str) -> str:
    """Run one benchmark and pass on what it prints; its outcome: `ok`, `skipped` or `FAILED`."""
    process = subprocess.Popen([sys.executable, "-u", HERE / f"{name}.py"], stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    assert process.stdout is not None
    is_skipped = False
    for line in process.stdout:
        is_skipped = is_skipped or line.startswith(SKIPPED)
        sys.stdout.write(line)
        sys.stdout.flush()
    if process.wait():
        return "FAILED"
    return "skipped" if is_skipped else "ok"


def main(arguments: list[str] | None = None) -> int:
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
