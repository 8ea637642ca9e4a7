"""From stored histories to the batches of one epoch: CPU per target item and memory per interaction, at sizes a factor of ten apart.

Ours, noise in the order included, beside the usual way: pandas' groups of users and torch's DataLoader, which pads a batch to its longest
history. Each run is a process of its own, in turns; memory is what a run has for itself beyond its imports when all is laid out and when
all is read, whichever is more (what is mapped from the file is the system's to take back). Both give every item but a history's first as a
target once, which is checked. The floor of memory is 4 bytes an interaction, its item.

    python benchmarks/epoch_batches.py 1 10     millions of interactions, as published; without any, 0.05 and 0.2
"""

import os
import sys

sys.path.insert(0, os.path.dirname(sys.path[0]))  # or a file beside this one is found in place of the package whose name it has

import json
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lodestar.bundle.catalogue import Catalogue
from lodestar.data.split.interactions import Interactions
from lodestar.features.batch import feature_set
from lodestar.io import npz

MILLION, EVENTS_PER_USER, EVENTS_PER_ITEM = 1_000_000, 50, 200
ROUNDS, MAX_HISTORY, PLACES = 3, 100, 2_048
OURS, PEER = "ours", "pandas and DataLoader"


def main() -> None:
    """Print CPU per target and bytes per interaction for each size in millions; with a way and a folder, measure that one here."""
    if sys.argv[2:] and sys.argv[1] in {OURS, PEER}:
        print(json.dumps(measured(sys.argv[1], Path(sys.argv[2]))))
        return
    first: dict[str, float] = {}
    for millions in [float(text) for text in sys.argv[1:]] or [0.05, 0.2]:
        with tempfile.TemporaryDirectory() as name:
            make(int(millions * MILLION), Path(name))
            runs: dict[str, list[dict[str, Any]]] = {OURS: [], PEER: []}
            for _ in range(ROUNDS):
                for way, found in runs.items():
                    done = subprocess.run([sys.executable, __file__, way, name], stdout=subprocess.PIPE, text=True, check=True)
                    found.append(json.loads(done.stdout))
            report(millions, runs, first)


def report(millions: float, runs: dict[str, list[dict[str, Any]]], first: dict[str, float]) -> None:
    """Print the medians of each way's runs; exits unless all runs batched the same number of targets."""
    if len({run["targets"] for found in runs.values() for run in found}) != 1:
        sys.exit("the batches do not have the same targets")
    cpu_us = {way: median(1e6 * run["cpu_s"] / run["targets"] for run in found) for way, found in runs.items()}
    for way, found in runs.items():
        each = median(run["bytes"] for run in found) / (millions * MILLION)
        grown = cpu_us[way] / first.setdefault(way, cpu_us[way])
        padded = median(1 - run["targets"] / run["places"] for run in found)
        cost = f"{cpu_us[way]:6.3f} µs of CPU a target, {grown:4.2f} x the smallest, {cpu_us[way] / cpu_us[OURS]:5.1f} x ours"
        print(f"{millions:>4g} million  {way:22} {cost}  {each:6.1f} bytes an interaction  {padded:4.0%} padding", flush=True)


def make(count: int, folder: Path) -> None:
    """Histories of very different lengths, as they are."""
    rng = np.random.default_rng(0)
    share = rng.gamma(0.5, size=count // EVENTS_PER_USER)
    user = np.sort(rng.choice(len(share), count, p=share / share.sum()).astype(np.int32))
    users, number = np.unique(user, return_inverse=True)
    time_us = np.cumsum(rng.choice([0, 60_000_000, 86_400_000_000], count))
    ids = [f"i{item}" for item in range(count // EVENTS_PER_ITEM)]
    interactions = Interactions(
        users=[f"u{name}" for name in users],
        items=ids,
        user=number.astype(np.int32),
        item=rng.integers(0, len(ids), count, dtype=np.int32),
        time=time_us,
    )
    feature_set.save(interactions, Catalogue(ids=ids, titles=ids, categories=ids, is_active=np.ones(len(ids), dtype=np.bool_)), folder)


def measured(way: str, folder: Path) -> dict[str, Any]:
    """One way's run in this process: CPU seconds, targets, positions with padding, and bytes beyond the imports."""
    import torch

    torch.set_num_threads(1)
    read = ours if way == OURS else usual
    read(folder, warm=True)
    before, started = anonymous(), time.process_time()
    targets, places, most = read(folder)
    return {"cpu_s": time.process_time() - started, "targets": targets, "places": places, "bytes": most - before}


def ours(folder: Path, *, warm: bool = False) -> tuple[int, int, int]:
    """How many targets and places, and the memory; `warm` only imports."""
    import torch

    from lodestar.training.loop.batches import bucket_batches, cut_windows, gather_batch
    from lodestar.training.loop.order_jitter import OrderJitter, gap_classes

    if warm:
        return 0, 0, 0
    interactions, rng = feature_set.load(folder).interactions, np.random.default_rng(0)
    order = OrderJitter(interactions.histories(), gap_classes(interactions), 2.0, torch.device("cpu"))
    items, most = order.jittered(rng), anonymous()
    made, targets, places = bucket_batches(cut_windows(order.lengths, MAX_HISTORY, rng), PLACES, rng), 0, 0
    for pack in made:
        batch = gather_batch(items, torch.from_numpy(pack.windows.begin), torch.from_numpy(pack.windows.count), pack.width)
        targets, places = targets + int(pack.windows.count.sum()), places + batch.mask.numel()
    return targets, places, max(most, anonymous())


def usual(folder: Path, *, warm: bool = False) -> tuple[int, int, int]:
    """The same with the usual parts; a history that is longer than a window is cut into several."""
    import pandas as pd
    import torch
    from torch.utils.data import DataLoader

    if warm:
        return 0, 0, 0
    content = npz.load(folder / feature_set.SEQUENCE_FILE)
    rows = pd.DataFrame({name: content[name] for name in ("user", "item", "time")})
    histories = rows.sort_values(["user", "time"], kind="stable").groupby("user")["item"].agg(list).tolist()
    windows = [items[max(0, end - MAX_HISTORY - 1) : end] for items in histories for end in range(len(items), 1, -MAX_HISTORY)]
    most = anonymous()

    def padded(chosen: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, chosen)) - 1
        history, target = np.zeros((len(chosen), longest), np.int64), np.zeros((len(chosen), longest), np.int64)
        for row, items in enumerate(chosen):
            history[row, 1 - len(items) :], target[row, 1 - len(items) :] = items[:-1], items[1:]
        return torch.from_numpy(history), torch.from_numpy(target)

    targets, places = sum(len(items) - 1 for items in windows), 0
    loader: DataLoader[Any] = DataLoader(windows, batch_size=PLACES // MAX_HISTORY, shuffle=True, collate_fn=padded)  # type: ignore[arg-type]
    for history, _ in loader:
        places += history.numel()
    return targets, places, max(most, anonymous())


def anonymous() -> int:
    """Bytes that this process has for itself now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
