"""RecTools' SASRec on sequences in a file, an epoch after the other; run by a benchmark in an environment of its own.

One JSON line per measurement on the output: CPU seconds of training so far, how many positions were trained on, NDCG@10, and what the
seconds of the fastest epoch since the last measurement, by the clock.
"""

import json
import logging
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

K = 10
SECONDS: list[float] = []  # of each epoch; RecTools trains with copies of a trainer and of its callbacks


class Clock(Callback):  # type: ignore[misc]
    """Times epochs, of a GPU with all that it has still to do."""

    def on_train_epoch_start(self, *_: object) -> None:
        """Note when the epoch began."""
        self.started = now()

    def on_train_epoch_end(self, *_: object) -> None:
        """Append the epoch's wall seconds to SECONDS."""
        SECONDS.append(now() - self.started)


def now() -> float:
    """Seconds of a monotonic clock, once the GPU has finished what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def main(file: str, loss: str, epochs: int, every: int, settings: str) -> None:
    """Train RecTools' SASRec on the given sequences; prints a line of JSON per measurement: CPU seconds, targets, NDCG@10."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    given = json.loads(settings)
    torch.set_num_threads(given.get("threads", 1))
    device = given.get("device", "cpu")
    seed_everything(given["seed"])

    def trainer() -> Trainer:
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return Trainer(max_epochs=1, accelerator="gpu" if device == "cuda" else "cpu", devices=1, callbacks=[Clock()], **quiet)

    data = np.load(file)
    bounds, items, target = data["bounds"], data["items"], data["target"]
    users = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(items)), unit="s")
    rows = pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: times})
    dataset = Dataset.construct(rows)
    model = SASRecModel(
        n_factors=given["dim"],
        n_blocks=given["num_layers"],
        n_heads=given["num_heads"],
        dropout_rate=given["dropout"],
        session_max_len=given["max_length"],
        loss=loss,
        lr=given["learning_rate"],
        batch_size=given["batch"],
        dataloader_num_workers=given.get("workers", 0),
        get_trainer_func=trainer,
        recommend_torch_device=device,
    )
    places = int(np.minimum(np.diff(bounds) - 1, given["max_length"]).clip(0).sum())
    spent = 0.0
    for epoch in range(every, epochs + 1, every):
        SECONDS.clear()
        started = time.process_time()
        model.fit_partial(dataset, min_epochs=every, max_epochs=every)
        spent += time.process_time() - started
        found = model.recommend(np.arange(len(target)), dataset, k=K, filter_viewed=True)
        hit = found[found[Columns.Item].to_numpy() == target[found[Columns.User].to_numpy()]]
        gain = (1 / np.log2(hit[Columns.Rank].to_numpy() + 1)).sum() / len(target)
        line = {"cpu_s": spent, "places": places * epoch, "ndcg": float(gain), "epoch_s": min(SECONDS)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
