"""Users who walk round a small catalogue: the next item is certain, so that what is trained on them is soon right."""

from pathlib import Path

import numpy as np

from lodestar.bundle.catalogue import Catalogue
from lodestar.data.split.interactions import Interactions
from lodestar.data.split.splits import EvalCases
from lodestar.features.batch import feature_set
from lodestar.models.closed_form.counts import Sequences

NUM_ITEMS = 12


def cycles(users: int = 60, length: int = 12) -> Sequences:
    """Everyone walks round the catalogue from where they like."""
    return [((np.arange(length) + user) % NUM_ITEMS).astype(np.int32)[: 4 + user % 8] for user in range(users)]


def next_items(sequences: Sequences) -> EvalCases:
    """Each user's last item is to be predicted from the two before it."""
    users = np.arange(len(sequences), dtype=np.int32)
    return EvalCases(user=users, history=[items[-3:-1] for items in sequences], relevant=[items[-1:] for items in sequences])


def features(folder: Path, users: int = 60) -> Path:
    """The features of `cycles`, saved in a new folder."""
    sequences = cycles(users)
    lengths = [len(items) for items in sequences]
    ids = [f"i{row}" for row in range(NUM_ITEMS)]
    log = Interactions(
        users=[f"u{row}" for row in range(users)],
        items=ids,
        user=np.repeat(np.arange(users, dtype=np.int32), lengths),
        item=np.concatenate(sequences),
        time=np.concatenate([np.arange(length, dtype=np.int64) for length in lengths]),
    )
    folder.mkdir()
    feature_set.save(log, Catalogue(ids=ids, titles=ids, categories=[""] * NUM_ITEMS, is_active=np.ones(NUM_ITEMS, dtype=bool)), folder)
    return folder
