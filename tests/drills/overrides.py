"""Every override that is accepted trains, or ends in an error with a code: the ends of what fields may hold, on a few users and items."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lodestar.bundle import bundle
from lodestar.config import override
from lodestar.errors import LodestarError
from lodestar.recipes import get_recipe
from lodestar.training.run import train
from tests.cycles import features

Sections = Mapping[str, Mapping[str, Any]]
SMALL: Sections = {"data": {"min_users": 1, "min_items": 1, "min_interactions": 1}, "train": {"epochs": 1, "patience": 1}}
ENDS: tuple[tuple[str, Sections], ...] = (
    ("sasrec", {"train": {"batch_tokens": 1}}),
    ("gsasrec", {"train": {"num_negatives": 1000000}}),
    ("gsasrec", {"train": {"num_negatives": 1}}),
    ("sasrec", {"model": {"max_length": 1}}),
    ("sasrec", {"model": {"dim": 1, "num_heads": 1}}),
    ("sasrec", {"model": {"num_neighbours": 10000}}),
    ("sasrec", {"train": {"label_smoothing": 0.99}}),
    ("sasrec", {"train": {"learning_rate": 100}}),
    ("sasrec", {"model": {"hash_buckets": 1}}),
    ("sasrec", {"train": {"warmup_epochs": 100000}}),
    ("sasrec", {"train": {"order_jitter": 200.0}}),
    ("caser", {"model": {"dim": 1, "num_heads": 1, "max_length": 1}}),
    ("caser", {"model": {"dim": 3, "num_heads": 1}}),
    ("gru", {"model": {"num_layers": 5, "max_length": 1}}),
    ("hstu", {"model": {"dim": 3, "num_heads": 3, "use_time_gaps": True}}),
    ("bert4rec", {"model": {"max_length": 1}}),
    ("two_tower", {"model": {"dim": 1, "num_heads": 1}}),
    ("content", {"model": {"dim": 1, "num_heads": 1}}),
    ("ease", {"model": {"dim": 16384}}),
    ("ials", {"model": {"dim": 1, "num_heads": 1}}),
    ("gf_cf", {"model": {"dim": 1, "num_heads": 1}}),
    ("cooccurrence", {"model": {"dim": 1, "num_heads": 1}}),
    ("item_knn", {"model": {"dim": 1, "num_heads": 1}}),
    ("item_knn_jaccard", {"model": {"dim": 2}}),
    ("dan_ease", {"model": {"dim": 16384}}),
    ("popularity", {"model": {"num_heads": 2, "dim": 2}}),
    ("sasrec", {"train": {"optimiser": "sgd", "learning_rate": 1}}),
    ("sasrec", {"train": {"optimiser": "rowwise_adagrad", "loss": "bpr"}}),
    ("sasrec", {"train": {"ema_decay": 0.999}}),
    ("sasrec", {"train": {"precision": "bf16"}}),
    ("sasrec", {"train": {"weight_decay": 100}}),
    ("sasrec", {"train": {"max_grad_norm": 1e-300}}),
    ("sasrec", {"train": {"learning_rate": 1e-300}}),
    ("sasrec", {"train": {"seed": 2147483647}}),
    ("sasrec", {"evaluation": {"max_scores": 1}}),
    ("blend", {"model": {"components": ["popularity"]}}),
    ("blend", {"model": {"components": ["content"]}}),
    ("sasrec", {"rate": {"dim": 1}}),
    ("sasrec", {"data": {"split": "time", "test_share": 0.4999, "validation_share": 0.4999}}),
    ("sasrec", {"train": {"validate_every": 100000}}),
    ("sasrec", {"model": {"dropout": 0.999}}),
    ("sasrec", {"train": {"gbce_t": 0, "loss": "gbce"}}),
    ("sasrec", {"train": {"item_init": "pretrained:/nowhere"}}),
    ("sasrec", {"train": {"warm_start": "/nowhere"}}),
    ("sasrec", {"train": {"device": "cuda"}}),
)


def drill(seed: int, cases: int) -> dict[str, object]:
    """So many of the ends, in an order drawn by the seed; anything but a bundle or a LodestarError is passed on."""
    chosen = np.random.default_rng(seed).permutation(len(ENDS))[:cases]
    refused: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = features(Path(folder) / "features")
        for place in chosen.tolist():
            name, ends = ENDS[place]
            sections = {section: {**SMALL.get(section, {}), **ends.get(section, {})} for section in {*SMALL, *ends}}
            target = Path(folder) / str(place)
            try:
                train(found, target, override(get_recipe(name), json.dumps(sections)), f"{folder}/checkpoints")
                bundle.load(target)
            except LodestarError as error:
                refused[f"{name} {json.dumps(ends)}"] = str(error).partition(" ")[0]
    assert all(code[0] == "E" and code[1:].isdigit() for code in refused.values()), refused
    return {"trained": len(chosen) - len(refused), "refused": dict(sorted(refused.items()))}
