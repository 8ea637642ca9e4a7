"""RecBole's SASRec on sequences in a file, an epoch after the other; run by a benchmark in an environment of its own.

RecBole makes a sample of every beginning of a history, so an epoch of it learns as many places as one of ours. One JSON line per
measurement on the output: CPU seconds of training so far, how many positions were trained on, NDCG@10.
"""

import json
import logging
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

K, AT_ONCE, NAME = 10, 256, "sequences"


def main(file: str, loss: str, epochs: int, every: int, settings: str) -> None:
    """Train RecBole's SASRec on the given sequences; prints a line of JSON per measurement: CPU seconds, targets, NDCG@10."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    given = json.loads(settings)
    torch.set_num_threads(1)
    data = np.load(file)
    bounds, items, target = data["bounds"], data["items"], data["target"]
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / NAME, bounds, items)
        config = Config(model="SASRec", dataset=NAME, config_dict=configured(folder, loss, given))
        init_seed(config["seed"], reproducibility=True)
        dataset = create_dataset(config)
        train_data, _, _ = data_preparation(config, dataset)
        model = SASRec(config, train_data.dataset)
        trainer = Trainer(config, model)
        spent = 0.0
        for epoch in range(1, epochs + 1):
            started = time.process_time()
            trainer._train_epoch(train_data, epoch, show_progress=False)
            spent += time.process_time() - started
            if epoch % every == 0:
                line = {"cpu_s": spent, "places": len(train_data.dataset) * epoch, "ndcg": evaluated(model, dataset, bounds, items, target)}
                sys.stdout.write(json.dumps(line) + "\n")
                sys.stdout.flush()


def configured(folder: str, loss: str, given: dict[str, float]) -> dict[str, object]:
    """What is not named is RecBole's own."""
    return {
        "data_path": folder,
        "checkpoint_dir": folder,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "order": "TO", "group_by": "user", "mode": "full"},
        "MAX_ITEM_LIST_LENGTH": given["max_length"],
        "n_layers": given["num_layers"],
        "n_heads": given["num_heads"],
        "hidden_size": given["dim"],
        "inner_size": given["dim"],
        "hidden_dropout_prob": given["dropout"],
        "attn_dropout_prob": given["dropout"],
        "learning_rate": given["learning_rate"],
        "loss_type": loss,
        "train_neg_sample_args": None,
        "seed": given["seed"],
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }


def write(folder: Path, bounds: np.ndarray, items: np.ndarray) -> None:
    """The interactions as RecBole reads them."""
    folder.mkdir()
    users = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    rows = "".join(f"{user}\t{item}\t{time}\n" for time, (user, item) in enumerate(zip(users, items, strict=True)))
    (folder / f"{NAME}.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + rows)


@torch.no_grad()
def evaluated(model: SASRec, dataset: object, bounds: np.ndarray, items: np.ndarray, target: np.ndarray) -> float:
    """NDCG@10 of the next item, all items ranked, seen ones left out; an item that RecBole never saw is not found."""
    model.eval()
    length, known = model.max_seq_length, dataset.field2token_id["item_id"]  # type: ignore[attr-defined]
    row = {int(name): place for name, place in known.items() if name.isdigit()}
    histories = [[row[int(item)] for item in items[start:end]] for start, end in pairwise(bounds)]
    gain = 0.0
    for start in range(0, len(histories), AT_ONCE):
        part = histories[start : start + AT_ONCE]
        asked, lengths = torch.zeros(len(part), length, dtype=torch.long), torch.ones(len(part), dtype=torch.long)
        for place, history in enumerate(part):
            recent = history[-length:]
            asked[place, : len(recent)], lengths[place] = torch.tensor(recent), max(1, len(recent))
        scores = model.full_sort_predict(Interaction({"item_id_list": asked, "item_length": lengths}))
        scores[:, 0] = -torch.inf
        for place, history in enumerate(part):
            scores[place, history] = -torch.inf
            wanted = row.get(int(target[start + place]))
            if wanted is not None:
                rank = int((scores[place] >= scores[place, wanted]).sum()) - 1
                gain += 1 / np.log2(rank + 2) if rank < K else 0.0
    return gain / len(histories)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
