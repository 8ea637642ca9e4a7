"""Simulating a shop and one ten times as large, each in a process of its own: CPU per event, rows per second and the most memory.

The peer is the smaller shop: a ratio of 1 in CPU is a cost that grows with the log and no faster. Importing is not counted.

    python benchmarks/simulator.py [EVENTS]     of the smaller shop; 1000000 as published, without any 50,000
"""

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its linear algebra

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from lodestar.data.simulator.simulator import SimulatorConfig, simulate

EVENTS, EVENTS_PER_USER, EVENTS_PER_ITEM, TIMES = 50_000, 50, 200, 10
MEASURE = "measure"
MIB = 1 << 20

Measured = dict[str, float]


def main() -> None:
    """Print CPU, rate and peak memory of both shops and their ratios; with a size, measure that shop here."""
    if sys.argv[2:] and sys.argv[1] == MEASURE:
        print(json.dumps(measured(int(sys.argv[2]))))
        return
    smaller = int(sys.argv[1]) if sys.argv[1:] else EVENTS
    sizes = (smaller, TIMES * smaller)
    found = [apart(size) for size in sizes]
    for size, values in zip(sizes, found, strict=True):
        print(f"{size:11,} events asked for  {'  '.join(f'{name} {value:,.4g}' for name, value in values.items())}")
    small, large = found
    print(f"{'':11} ratio             {'  '.join(f'{name} {large[name] / small[name]:.2f}' for name in small)}")


def apart(events: int) -> Measured:
    """What a process of its own measures."""
    done = subprocess.run([sys.executable, __file__, MEASURE, str(events)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    values: Measured = json.loads(done.stdout)
    return values


def measured(count: int) -> Measured:
    """Rows are those of events and impressions."""
    with tempfile.TemporaryDirectory() as folder:
        wall, spent = time.perf_counter(), time.process_time()
        simulate(SimulatorConfig(users=count // EVENTS_PER_USER, items=count // EVENTS_PER_ITEM, events=count), Path(folder))
        wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - spent
        events, impressions = (pq.read_metadata(Path(folder) / f"{name}.parquet").num_rows for name in ("events", "impressions"))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
    return {"rows/s": (events + impressions) / wall_s, "CPU s per million events": 1e6 * cpu_s / events, "peak MiB": peak_mib}


if __name__ == "__main__":
    main()
