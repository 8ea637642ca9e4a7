"""RecTools' SASRec on sequences in a file, an epoch after the other; run by `benchmarks/training.py` in an environment of its own.

One JSON line per measurement on the output: CPU seconds of training so far, how many places were learnt from, and NDCG@10.
"""

import json
import logging
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

K = 10


def trainer() -> Trainer:
    return Trainer(
        max_epochs=1, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, logger=False, accelerator="cpu"
    )


def main(file: str, loss: str, epochs: int, every: int, settings: str) -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    given = json.loads(settings)
    seed_everything(given["seed"])
    data = np.load(file)
    bounds, items, target = data["bounds"], data["items"], data["target"]
    users = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(items)), unit="s")
    rows = pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0, Columns.Datetime: times})
    dataset = Dataset.construct(rows)
    model = SASRecModel(
        n_factors=given["dim"],
        n_blocks=given["layers"],
        n_heads=given["heads"],
        dropout_rate=given["dropout"],
        session_max_len=given["max_length"],
        loss=loss,
        lr=given["learning_rate"],
        batch_size=given["batch"],
        get_trainer_func=trainer,
        recommend_torch_device="cpu",
    )
    places = int(np.minimum(np.diff(bounds) - 1, given["max_length"]).clip(0).sum())
    spent = 0.0
    for epoch in range(every, epochs + 1, every):
        started = time.process_time()
        model.fit_partial(dataset, min_epochs=every, max_epochs=every)
        spent += time.process_time() - started
        found = model.recommend(np.arange(len(target)), dataset, k=K, filter_viewed=True)
        hit = found[found[Columns.Item].to_numpy() == target[found[Columns.User].to_numpy()]]
        ndcg = float((1 / np.log2(hit[Columns.Rank].to_numpy() + 1)).sum() / len(target))
        print(json.dumps({"epoch": epoch, "cpu_s": spent, "places": places * epoch, "ndcg": ndcg}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
