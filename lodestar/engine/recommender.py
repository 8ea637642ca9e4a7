"""The online path without http: a history becomes a user vector, every item is scored, what is seen or gone is left out.

A bundle's ranker then puts the best of them in their last order, by what is known of them at that moment.
Evaluation ranks by the same object that serves, so what is judged is what goes out.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle import Bundle
from lodestar.bundle_checks import REMEDY, USER
from lodestar.data import gaps
from lodestar.engine.reranker import Reranker
from lodestar.errors import DataError
from lodestar.onnx_probe import probe
from lodestar.onnx_runtime import session
from lodestar.ranker import CANDIDATES, COUNTS, HISTORY, MASK, WORTH

Floats = NDArray[np.float32]
Rows = NDArray[np.signedinteger[Any]]
HISTORIES_AT_ONCE = 64
PERSONAL, POPULAR = "personal", "popular"
GROUP = 64
USUAL_LENGTH = 20  # of a history
LOWEST = float(np.finfo(np.float32).min)


class Recommendation(NamedTuple):
    """One place of a list; `position` counts from 1, `retriever` says what put the item there, `rating` what the user would give it.

    A tuple, since a request makes ten and more, and a frozen dataclass takes five times as long.
    """

    item_id: str
    title: str
    category: str
    score: float
    position: int
    retriever: str
    rating: float | None = None


class Candidates(NamedTuple):
    """The best items of a history (rows of the item table) with their scores, best first, of which `k` are asked for."""

    seen: Rows
    rows: NDArray[np.intp]
    scores: Floats
    k: int


class Recommender:
    """A bundle ready to answer; safe to share between threads."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        _probe(bundle)
        self.reranker = Reranker(bundle.ranker, threads) if bundle.ranker is not None else None
        self.looks_at = bundle.ranker.candidates if bundle.ranker is not None else 0
        self._session = session(bundle.graph, threads)
        self._row = bundle.items.rows()
        self._inactive = np.flatnonzero(~bundle.items.is_active)
        # A short history first: the runtime lays its memory out by the first that comes, and after a long one short ones take 15 % longer.
        for length in (min(USUAL_LENGTH, bundle.info.max_length), bundle.info.max_length):
            self._personal([np.arange(length) % len(bundle.items)])

    def scores(self, histories: Sequence[Rows]) -> Floats:
        """Of every item for every history, [histories, items]; popularity where it is empty.

        A history is rows of the item table, oldest first, with their pace (see `lodestar.data.gaps`) where the bundle is timed.
        """
        scores_BN = np.tile(self.bundle.popularity, (len(histories), 1))
        known = [place for place, history in enumerate(histories) if len(history)]
        if known:
            scores_BN[known] = self._personal([histories[place] for place in known])
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
        """The best k active items by retrieval, none of the history (ids, oldest first) nor excluded; unknown ids are passed over."""
        return self.listed(self.candidates(history, k, exclude))

    def candidates(self, history: Sequence[str], k: int, exclude: Collection[str] = (), gaps_s: Sequence[float] = ()) -> Candidates:
        """The same before they are shown, as many as the ranker wants to see; `gaps_s` are the seconds since the item before, or none."""
        seen = self._rows(history)
        asked = self._paced(history, gaps_s) if self.bundle.info.timed and len(gaps_s) else seen
        scores_N = self._personal([asked])[0] if len(seen) else self.bundle.popularity.copy()
        scores_N[self._inactive] = scores_N[seen] = scores_N[self._rows(exclude)] = -np.inf
        rows = best(scores_N, max(k, self.looks_at) if len(seen) else k)
        return Candidates(seen, rows, scores_N[rows], k)

    def reranked(self, found: Candidates, counts_CF: Floats) -> Candidates:
        """In the ranker's order, by the counts (`pairs.NAMES`) of those that it looks at; the others follow as they were."""
        if self.reranker is None or len(found.seen) == 0:
            return found
        size = len(counts_CF)
        scores = found.scores.copy()
        scores[:size] += self.reranker.worth(found.seen, found.rows[:size], counts_CF)
        self._check(scores)
        order = np.concatenate([np.argsort(-scores[:size], kind="stable"), np.arange(size, len(scores))])
        return found._replace(rows=found.rows[order], scores=scores[order])

    def listed(self, found: Candidates, user: str = "") -> list[Recommendation]:
        """The k that were asked for, as they are shown; with what the user would rate them where a bundle knows."""
        items, retriever, ratings = self.bundle.items, PERSONAL if len(found.seen) else POPULAR, self.bundle.ratings
        rows = found.rows[: found.k]
        rated = [None] * len(rows) if ratings is None else ratings.foretold(user, rows).tolist()
        shown = zip(rows.tolist(), found.scores[: found.k].tolist(), rated, strict=True)
        return [
            Recommendation(items.ids[row], items.titles[row], items.categories[row], score, position, retriever, rating)
            for position, (row, score, rating) in enumerate(shown, start=1)
        ]

    def _personal(self, histories: Sequence[Rows]) -> Floats:
        """Scores for histories that are not empty: what is learnt, and what the last items point to where a bundle says so.

        DataError E182 where one is no number: it could be ranked nowhere, and a list without it would look whole.
        """
        scores_BN = self.bundle.table.scores(self.users(histories))
        if self.bundle.neighbours is not None:
            self.bundle.neighbours.add_to(scores_BN, histories)
        self._check(scores_BN)
        return scores_BN

    def _check(self, scores: Floats) -> None:
        if not np.isfinite(scores).all():
            raise DataError("E182", f"the vectors of {self.bundle.root} give scores that are no numbers", remedy=REMEDY)

    def _rows(self, items: Collection[str]) -> Rows:
        return np.array([self._row[item] for item in items if item in self._row], dtype=np.int32)

    def _paced(self, history: Sequence[str], gaps_s: Sequence[float]) -> Rows:
        """Rows with their pace; the time of an item that is not known goes to the next one."""
        is_known = np.array([item in self._row for item in history], dtype=np.bool_)
        since_s = np.cumsum(gaps.whole(np.asarray(gaps_s)))[is_known]
        paced: Rows = gaps.dated(self._rows(history), np.diff(since_s, prepend=since_s[:1]))
        return paced

    def _encode(self, histories: list[Rows]) -> Floats:
        info = self.bundle.info
        recent = [history[-info.max_length :] for history in histories]
        width = max(len(history) for history in recent)
        vectors_BTD = np.zeros((len(recent), width, info.dim + info.timed), dtype=np.float32)
        mask_BT = np.zeros((len(recent), width), dtype=np.bool_)
        for place, history in enumerate(recent):
            vectors_BTD[place, width - len(history) :, : info.dim] = self.bundle.table.vectors(gaps.items_of(history))
            if info.timed:
                vectors_BTD[place, width - len(history) :, -1] = gaps.gaps_of(history)
            mask_BT[place, width - len(history) :] = True
        users: Floats = self._session.run(None, {HISTORY: vectors_BTD, MASK: mask_BT})[0]
        if not np.isfinite(users).all():
            raise DataError("E182", f"the encoder of {self.bundle.root} gives what is no number", remedy=REMEDY)
        return users


def _probe(bundle: Bundle) -> None:
    """DataError E184 where a graph of the bundle does not answer its longest and its shortest history, within time and memory."""
    info, length = bundle.info, bundle.info.max_length
    mask_BT = np.ones((2, length), dtype=np.bool_)
    mask_BT[1, :-1] = False
    vectors_BTD = np.zeros((2, length, info.dim + info.timed), dtype=np.float32)
    vectors_BTD[:, :, : info.dim] = bundle.table.vectors(np.arange(length) % len(bundle.items)) * mask_BT[:, :, None]
    probe(bundle.graph, {HISTORY: vectors_BTD, MASK: mask_BT}, USER, (2, info.dim))
    if bundle.ranker is not None:
        found = bundle.ranker
        rows = found.vectors.astype(np.float32)
        past, ahead = np.arange(found.max_length) % len(rows), np.arange(found.candidates) % len(rows)
        counts_CF = np.zeros((found.candidates, len(found.counts)), dtype=np.float32)
        given = {
            HISTORY: rows[past][None],
            MASK: np.ones((1, len(past)), dtype=np.bool_),
            CANDIDATES: rows[ahead][None],
            COUNTS: counts_CF[None],
        }
        probe(found.graph, given, WORTH, (1, found.candidates))


def best(scores_N: Floats, k: int) -> NDArray[np.intp]:
    """The rows of the k highest scores, best first, ties in row order; -inf is never among them."""
    rows = np.flatnonzero(scores_N >= max(_bound(scores_N, k), LOWEST))
    return rows[np.argsort(-scores_N[rows], kind="stable")[:k]]


def _bound(scores_N: Floats, k: int) -> float:
    """What the k highest scores do not lie below.

    Of groups of scores it is the k-th highest maximum: each of the k best groups has a score that is no lower. Few scores pass it, and
    partitioning them all takes four times as long for 100,000, seven times for a million.
    """
    groups = len(scores_N) // GROUP
    tops = scores_N[: groups * GROUP].reshape(GROUP, groups).max(axis=0) if groups >= k > 0 else scores_N
    return float(np.partition(tops, len(tops) - k)[len(tops) - k]) if len(tops) >= k > 0 else -np.inf
