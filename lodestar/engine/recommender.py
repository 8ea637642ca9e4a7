"""Recommender: the online path without HTTP. Encodes a history, scores all items, filters, retrieves candidates and reranks them.

Inactive items, and what the rules of feedback do not recommend again, are filtered out; a bundle's ranker then reorders the candidates by
current count features.
Evaluation and serving use the same object, so the evaluated model is the deployed one; `scores` has inactive items, which `candidates`
leaves out. Shapes: B histories, N items, D width, C candidates.
"""

import time
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lodestar.bundle import timed_items
from lodestar.bundle.bundle import Bundle
from lodestar.bundle.checks import REMEDY, USER
from lodestar.bundle.ranker import CANDIDATES, COUNTS, HISTORY, MASK, SCORES
from lodestar.engine.onnx_probe import probe
from lodestar.engine.onnx_runtime import session
from lodestar.engine.reranker import Reranker
from lodestar.engine.user_filter import NO_FILTER, UserFilter
from lodestar.errors import DataError
from lodestar.schema.arrays import Float32, Floats, Int, Integers

HISTORIES_AT_ONCE = 64
PERSONAL, POPULAR = "personal", "popular"
GROUP = 64
TYPICAL_LENGTH = 20  # of a history
MIN_SCORE = float(np.finfo(np.float32).min)


class Recommendation(NamedTuple):
    """One recommended item; `position` counts from 1, `retriever` is PERSONAL or POPULAR (cold start), `rating` is the predicted rating.

    A named tuple, since a request creates ten or more, and a frozen dataclass takes five times as long.
    """

    item_id: str
    title: str
    category: str
    score: float
    position: int
    retriever: str
    rating: float | None = None


class Candidates(NamedTuple):
    """Retrieved candidates (rows of the item table) with scores, best first; the response has the first `k`."""

    history_rows: Int[Integers, " history"]
    rows: Int[NDArray[np.intp], " candidates"]
    scores: Float32[Floats, " candidates"]
    k: int


class Recommender:
    """Serves a loaded bundle; safe to share between threads. Raises DataError E184 if a graph of the bundle does not run."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        self.bundle = bundle
        _probe(bundle)
        self.reranker = Reranker(bundle.ranker, threads) if bundle.ranker is not None else None
        self.num_candidates = bundle.ranker.candidates if bundle.ranker is not None else 0
        self._session = session(bundle.encoder, threads)
        self._row = bundle.items.rows()
        self._inactive = np.flatnonzero(~bundle.items.is_active)
        self._rules = bundle.info.rules
        # Warm up with a short history first: the runtime plans memory by its first input, and short ones take 15 % longer after a long one.
        for length in (min(TYPICAL_LENGTH, bundle.info.max_length), bundle.info.max_length):
            self._personal_scores([np.arange(length) % len(bundle.items)])

    def scores(self, histories: Sequence[Int[Integers, "_"]]) -> Float32[Floats, "histories items"]:
        """Scores of all items for each history, [B, N]; popularity for an empty history (cold start).

        A history is rows of the item table, oldest first, packed with time gaps if the bundle uses them (`lodestar.bundle.timed_items`).
        """
        scores_BN = np.tile(self.bundle.popularity, (len(histories), 1))
        warm = [row for row, history in enumerate(histories) if len(history)]
        if warm:
            scores_BN[warm] = self._personal_scores([histories[row] for row in warm])
        return scores_BN

    def encode_users(self, histories: Sequence[Int[Integers, "_"]]) -> Float32[Floats, "histories dim"]:
        """User vectors of non-empty histories, [B, D]; encoded in batches of similar length."""
        users_BD = np.empty((len(histories), self.bundle.info.dim), dtype=np.float32)
        by_length = np.argsort([len(history) for history in histories], kind="stable")
        for start in range(0, len(by_length), HISTORIES_AT_ONCE):
            batch = by_length[start : start + HISTORIES_AT_ONCE]
            users_BD[batch] = self._encode([histories[row] for row in batch])
        return users_BD

    def recommend(self, history: Sequence[str], k: int, exclude: Collection[str] = ()) -> list[Recommendation]:
        """Top-k active items by retrieval for a history (ids, oldest first), without items of `exclude`; unknown ids are ignored."""
        return self.to_recommendations(self.candidates(history, k, exclude))

    def candidates(
        self,
        history: Sequence[str],
        k: int,
        exclude: Collection[str] = (),
        gaps_s: Sequence[float] = (),
        user_filter: UserFilter = NO_FILTER,
    ) -> Candidates:
        """Retrieval: the candidates of a history, as many as the ranker reorders or k if more, without those of `user_filter`.

        `gaps_s` are the seconds since the previous item, one per id of the history, or empty. Where all that was seen is never recommended
        again, no item of the history is.
        """
        history_rows = self._rows(history)
        has_gaps = self.bundle.info.use_time_gaps and len(gaps_s)
        packed = self._with_time_gaps(history, gaps_s) if has_gaps else history_rows
        scores_N = self._personal_scores([packed])[0] if len(history_rows) else self.bundle.popularity.copy()
        scores_N[self._inactive] = scores_N[self._rows(exclude)] = -np.inf
        if self._rules.filters_history:
            scores_N[history_rows] = -np.inf
        if user_filter is not NO_FILTER:
            scores_N[user_filter.rows(self._rules, self._row, time.time_ns() // 1000)] = -np.inf
        rows = top_k(scores_N, max(k, self.num_candidates) if len(history_rows) else k)
        return Candidates(history_rows, rows, scores_N[rows], k)

    def rerank(self, candidates: Candidates, counts_CF: Float32[Floats, "candidates counts"]) -> Candidates:
        """Candidates in the ranker's order, by count features [C, F] (`ranker_inputs.NAMES`) of the first C; others follow unchanged."""
        if self.reranker is None or len(candidates.history_rows) == 0:
            return candidates
        size = len(counts_CF)
        scores = candidates.scores.copy()
        scores[:size] += self.reranker.score(candidates.history_rows, candidates.rows[:size], counts_CF)
        self._check(scores)
        order = np.concatenate([np.argsort(-scores[:size], kind="stable"), np.arange(size, len(scores))])
        return candidates._replace(rows=candidates.rows[order], scores=scores[order])

    def to_recommendations(self, candidates: Candidates, user: str = "") -> list[Recommendation]:
        """The first k candidates as recommendations, with predicted ratings if the bundle has a rating model."""
        items, retriever, ratings = self.bundle.items, PERSONAL if len(candidates.history_rows) else POPULAR, self.bundle.ratings
        rows = candidates.rows[: candidates.k]
        rated = [None] * len(rows) if ratings is None else ratings.predict(user, rows).tolist()
        ranked = zip(rows.tolist(), candidates.scores[: candidates.k].tolist(), rated, strict=True)
        return [
            Recommendation(items.ids[row], items.titles[row], items.categories[row], score, position, retriever, rating)
            for position, (row, score, rating) in enumerate(ranked, start=1)
        ]

    def _personal_scores(self, histories: Sequence[Integers]) -> Floats:
        """Scores [B, N] of non-empty histories: the model's, plus neighbour scores if the bundle has them.

        Raises DataError E189 if a score is not finite: its item could not be ranked, and a list without it would look complete.
        """
        scores_BN = self.bundle.table.scores(self.encode_users(histories))
        if self.bundle.neighbours is not None:
            self.bundle.neighbours.add_to(scores_BN, histories)
        self._check(scores_BN)
        return scores_BN

    def _check(self, scores: Floats) -> None:
        if not np.isfinite(scores).all():
            raise DataError("E189", f"the vectors of {self.bundle.root} give scores that are not finite", remedy=REMEDY)

    def _rows(self, items: Collection[str]) -> Integers:
        return np.array([self._row[item] for item in items if item in self._row], dtype=np.int32)

    def _with_time_gaps(self, history: Sequence[str], gaps_s: Sequence[float]) -> Integers:
        """Rows packed with time gaps; the gap of an unknown item is added to the next one."""
        is_known = np.array([item in self._row for item in history], dtype=np.bool_)
        since_s = np.cumsum(timed_items.as_stored_seconds(np.asarray(gaps_s)))[is_known]
        packed: Integers = timed_items.pack(self._rows(history), np.diff(since_s, prepend=since_s[:1]))
        return packed

    def _encode(self, histories: list[Integers]) -> Floats:
        info = self.bundle.info
        recent = [history[-info.max_length :] for history in histories]
        width = max(len(history) for history in recent)
        vectors_BTD = np.zeros((len(recent), width, info.dim + info.use_time_gaps), dtype=np.float32)
        mask_BT = np.zeros((len(recent), width), dtype=np.bool_)
        for row, history in enumerate(recent):
            vectors_BTD[row, width - len(history) :, : info.dim] = self.bundle.table.vectors(timed_items.unpack_items(history))
            if info.use_time_gaps:
                vectors_BTD[row, width - len(history) :, -1] = timed_items.unpack_gaps(history)
            mask_BT[row, width - len(history) :] = True
        users: Floats = self._session.run(None, {HISTORY: vectors_BTD, MASK: mask_BT})[0]
        if not np.isfinite(users).all():
            raise DataError("E189", f"the encoder of {self.bundle.root} gives values that are not finite", remedy=REMEDY)
        return users


def _probe(bundle: Bundle) -> None:
    """Run the bundle's graphs on the longest and the shortest history; raises DataError E184 if one fails or exceeds its limits."""
    info, length = bundle.info, bundle.info.max_length
    mask_BT = np.ones((2, length), dtype=np.bool_)
    mask_BT[1, :-1] = False
    vectors_BTD = np.zeros((2, length, info.dim + info.use_time_gaps), dtype=np.float32)
    vectors_BTD[:, :, : info.dim] = bundle.table.vectors(np.arange(length) % len(bundle.items)) * mask_BT[:, :, None]
    probe(bundle.encoder, {HISTORY: vectors_BTD, MASK: mask_BT}, USER, (2, info.dim))
    if bundle.ranker is not None:
        ranker = bundle.ranker
        vectors = ranker.vectors.astype(np.float32)
        history, candidates = np.arange(ranker.max_length) % len(vectors), np.arange(ranker.candidates) % len(vectors)
        counts_CF = np.zeros((ranker.candidates, len(ranker.count_names)), dtype=np.float32)
        inputs = {
            HISTORY: vectors[history][None],
            MASK: np.ones((1, len(history)), dtype=np.bool_),
            CANDIDATES: vectors[candidates][None],
            COUNTS: counts_CF[None],
        }
        probe(ranker.graph, inputs, SCORES, (1, ranker.candidates))


def top_k(scores_N: Float32[Floats, " items"], k: int) -> Int[NDArray[np.intp], " best"]:
    """Rows of the k highest scores, best first, ties in row order; -inf is never among them."""
    rows = np.flatnonzero(scores_N >= max(_lower_bound(scores_N, k), MIN_SCORE))
    return rows[np.argsort(-scores_N[rows], kind="stable")[:k]]


def _lower_bound(scores_N: Floats, k: int) -> float:
    """A lower bound of the k highest scores.

    It is the k-th highest maximum of groups of scores: each of the k best groups has a score at least as high. Few scores pass it;
    partitioning all scores takes four times as long for 100,000, seven times for a million.
    """
    groups = len(scores_N) // GROUP
    maxima = scores_N[: groups * GROUP].reshape(GROUP, groups).max(axis=0) if groups >= k > 0 else scores_N
    return float(np.partition(maxima, len(maxima) - k)[len(maxima) - k]) if len(maxima) >= k > 0 else -np.inf
