"""The online path without http: a history becomes a user vector, every item is scored, what is seen or gone is left out.

Evaluation ranks by the same object that serves, so what is judged is what goes out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle import Bundle

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]
HISTORIES_AT_ONCE = 64
PERSONAL, POPULAR = "personal", "popular"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """One place of a list; `position` counts from 1, `retriever` says what put the item there."""

    item_id: str
    title: str
    category: str
    score: float
    position: int
    retriever: str


class Recommender:
    """A bundle ready to answer; safe to share between threads."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        self.bundle = bundle
        self._session = onnxruntime.InferenceSession(bundle.encoder, options, providers=["CPUExecutionProvider"])
        self._row = bundle.items.rows()

    def scores(self, histories: Sequence[Rows]) -> Floats:
        """Of every item for every history (rows of the item table, oldest first), [histories, items]; popularity where it is empty."""
        scores_BN = np.tile(self.bundle.popularity, (len(histories), 1))
        known = [place for place, history in enumerate(histories) if len(history)]
        if known:
            scores_BN[known] = self.bundle.table.scores(self.users([histories[place] for place in known]))
        return scores_BN

    def users(self, histories: Sequence[Rows]) -> Floats:
        """User vectors of histories that are not empty, [histories, dim]."""
        users_BD = np.empty((len(histories), self.bundle.info.dim), dtype=np.float32)
        by_length = np.argsort([len(history) for history in histories], kind="stable")
        for start in range(0, len(by_length), HISTORIES_AT_ONCE):
            chosen = by_length[start : start + HISTORIES_AT_ONCE]
            users_BD[chosen] = self._encode([histories[place] for place in chosen])
        return users_BD

    def recommend(self, history: Sequence[str], k: int, exclude: Collection[str] = ()) -> list[Recommendation]:
        """The best k active items, none of the history (ids, oldest first) nor excluded; unknown ids are passed over."""
        seen = np.array([self._row[item] for item in history if item in self._row], dtype=np.int32)
        banned = np.array([self._row[item] for item in exclude if item in self._row], dtype=np.int32)
        scores_N = self.scores([seen])[0]
        scores_N[~self.bundle.items.is_active] = -np.inf
        scores_N[seen] = scores_N[banned] = -np.inf
        retriever = PERSONAL if len(seen) else POPULAR
        return [self._place(int(row), float(scores_N[row]), rank, retriever) for rank, row in enumerate(best(scores_N, k), start=1)]

    def _encode(self, histories: list[Rows]) -> Floats:
        recent = [history[-self.bundle.info.max_length :] for history in histories]
        width = max(len(history) for history in recent)
        vectors_BTD = np.zeros((len(recent), width, self.bundle.info.dim), dtype=np.float32)
        mask_BT = np.zeros((len(recent), width), dtype=np.bool_)
        for place, history in enumerate(recent):
            vectors_BTD[place, width - len(history) :] = self.bundle.table.vectors(history)
            mask_BT[place, width - len(history) :] = True
        users: Floats = self._session.run(None, {"history": vectors_BTD, "mask": mask_BT})[0]
        return users

    def _place(self, row: int, score: float, position: int, retriever: str) -> Recommendation:
        items = self.bundle.items
        return Recommendation(
            item_id=items.ids[row],
            title=items.titles[row],
            category=items.categories[row],
            score=score,
            position=position,
            retriever=retriever,
        )


def best(scores_N: Floats, k: int) -> NDArray[np.intp]:
    """The rows of the k highest scores, best first, ties in row order; -inf is never among them."""
    k = min(k, int(np.isfinite(scores_N).sum()))
    if k == 0:
        return np.zeros(0, dtype=np.intp)
    least = np.partition(scores_N, len(scores_N) - k)[len(scores_N) - k]
    candidates = np.flatnonzero(scores_N >= least)
    return candidates[np.argsort(-scores_N[candidates], kind="stable")[:k]]
