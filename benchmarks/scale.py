"""From a log to what training and serving read, at sizes a factor of ten apart: CPU per event of each step, and the most memory it held.

    python benchmarks/scale.py 1 10 100     millions of events, as published; without any, 0.1 and 0.3

The shop is simulated first and does not count. Each step runs in a process of its own, imports included. The peer is the smallest shop:
a ratio of 1 is a cost that grows with the events and no faster. A hundred million take 12 GB of disk.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

MILLION = 1_000_000
EVENTS_PER_USER, DAYS, EVENTS_PER_ITEM, MAX_ITEMS = 50, 60, 200, 100_000
SIMULATE = """
from lodestar.data.simulator.simulator import SimulatorConfig, simulate
(folder / "data").mkdir()
simulate(SimulatorConfig(users={users}, items={items}, events={events}, days={days}), folder / "data")
"""
STEPS = {
    "ingest": """
from lodestar.data.ingest import ingest
ingest(str(folder / "data"), folder / "tables")
""",
    "build": """
from lodestar.features.batch.build import build_features
from lodestar.recipes import get_recipe
build_features(folder / "tables", folder / "features", get_recipe("shop"))
""",
    "publish": """
from feature_repo import materialise, store
store.write_training_set(folder / "features")
materialise.materialise_sqlite(folder / "features", folder / "release")
""",
}


def main() -> None:
    """Print CPU per event and peak memory of each step for each size in millions of events."""
    first: dict[str, float] = {}
    for millions in [float(text) for text in sys.argv[1:]] or [0.1, 0.3]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            events = int(millions * MILLION)
            items = min(MAX_ITEMS, events // EVENTS_PER_ITEM)
            run(SIMULATE.format(users=events // EVENTS_PER_USER, items=items, events=events, days=DAYS), folder)
            events = pq.read_metadata(folder / "data" / "events.parquet").num_rows
            for step, program in STEPS.items():
                cpu_s, peak_mb = run(program, folder)
                each_us = 1e6 * cpu_s / events
                ratio = each_us / first.setdefault(step, each_us)
                cost = f"{cpu_s:8.1f} s CPU  {each_us:6.2f} µs an event, {ratio:5.2f} x the smallest"
                print(f"{events:>12,} events  {step:7s} {cost}  {peak_mb:6.0f} MB", flush=True)
            stored = (folder / "features" / "sequences.npz").stat().st_size
            print(f"{events:>12,} events  sequences take {stored / events:.1f} bytes an event", flush=True)


def run(program: str, folder: Path) -> tuple[float, float]:
    """CPU seconds and the most memory (MB) of a program in a process of its own; RuntimeError with its own words where it fails."""
    command = [sys.executable, "-c", f"from pathlib import Path\nfolder = Path({str(folder)!r})\n{program}"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, cwd=Path(__file__).parent.parent)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode())
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
