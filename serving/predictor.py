"""The predictor: online features, retrieval, rerank, and the impression and feature logs, for each batch of queries."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lodestar.engine.recommender import POPULAR, Candidates, Recommendation, Recommender
from lodestar.schema import ids, ranker_inputs
from serving.feature_log import FeatureLogRow, RankerCounts, RecommendResponse
from serving.features.feature_client import FeatureClient, GenerationMissing, Histories, StoreUnavailable
from serving.features.item_count_cache import ItemCountCache
from serving.features.user_history import UNKNOWN_USER, UserHistory
from serving.impressions import FileLog, ImpressionList, S3Log, feature_hash
from serving.metrics import Metrics
from serving.requests import RecommendRequest

WARM_UP_REQUESTS = 20
WARM_UP_K = 10
# Batches that take longer to rank run in the thread pool, so that they do not block probes; a thread costs about 0.1 ms.
INLINE_BUDGET_S = 0.01
THREADS = 2

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class OutageLog:
    """Logs the beginning and the end of an outage of `what`, instead of every failed request."""

    what: str
    _lasts: bool = False

    def begins(self, error: Exception) -> None:
        """Log the error as a warning if this is the first since it last worked."""
        if not self._lasts:
            logger.warning("%s fails: %s", self.what, error)
        self._lasts = True

    def ends(self) -> None:
        """Log that it works again if it had failed."""
        if self._lasts:
            logger.warning("%s works again", self.what)
        self._lasts = False


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A loaded bundle with its feature client, metrics and logs; `impression_log` and `feature_log` are None if not kept.

    Batches of more than `max_inline_queries` are ranked in the thread pool.
    """

    recommender: Recommender
    feature_client: FeatureClient
    metrics: Metrics
    impression_log: FileLog | S3Log | None
    arm: str
    max_inline_queries: int
    feature_log: FileLog | S3Log | None = None
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="rank"))
    _items: ItemCountCache = field(init=False)
    _store: OutageLog = field(default_factory=lambda: OutageLog(what="the online store"))
    _counts: OutageLog = field(default_factory=lambda: OutageLog(what="reading counts"))
    _disk: OutageLog = field(default_factory=lambda: OutageLog(what="the impression log"))

    def __post_init__(self) -> None:
        num_items = len(self.recommender.bundle.items) if self.recommender.reranker is not None else 0
        object.__setattr__(self, "_items", ItemCountCache(num_items))

    @property
    def digest(self) -> str:
        """The bundle's digest, the model version in responses, metrics and the impression log."""
        return self.recommender.bundle.digest

    async def open(self) -> None:
        """Connect to the online store before the first request; an outage is logged, and does not prevent the start."""
        try:
            await self.feature_client.histories([""])
        except StoreUnavailable as error:
            self._store.begins(error)

    async def recommend(self, queries: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        """A recommendation list for each query, logged before it is returned.

        If the online store fails, lists fall back to the cold-start list, or without counts to the retrieval order.
        """
        started = time.perf_counter()
        queries, histories = await self._known(queries)
        candidates = await self._run_ranking(len(queries), self._candidates, queries, histories)
        counts: Sequence[RankerCounts | None] = [None] * len(queries)
        if self.recommender.reranker is not None and any(len(one.history_rows) for one in candidates):
            counts = await self._read_counts(queries, candidates)
            candidates = await self._run_ranking(len(queries), self._rerank, candidates, counts)
        items = [self.recommender.to_recommendations(one, query.user) for query, one in zip(queries, candidates, strict=True)]
        responses = list(map(self._respond, queries, histories, items))
        if self.feature_log is not None:
            generation = self.recommender.bundle.info.features
            for response, history, ranker_counts in zip(responses, histories, counts, strict=True):
                row = FeatureLogRow(response=response, generation=generation, history=history, counts=ranker_counts)
                self._write(self.feature_log, row.row())
        self.metrics.predicted(time.perf_counter() - started)
        return responses

    async def close(self) -> None:
        """Close connections, and flush the logs."""
        await self.feature_client.close()
        self.pool.shutdown(wait=False, cancel_futures=True)  # running work was waited for already, and may never end
        logs = [log for log in (self.impression_log, self.feature_log) if log is not None]
        await asyncio.gather(*(asyncio.to_thread(log.close) for log in logs))  # each may take its ten seconds of the grace

    async def _known(self, queries: Sequence[RecommendRequest]) -> tuple[Sequence[RecommendRequest], Histories]:
        """The queries and the histories of their users: of one that is not known as it is written, under the normal form of its id.

        So `user=0.0` and `user=0` are one, and an id that was declared a text is still found as it is.
        """
        normal = {place: form for place, query in enumerate(queries) if (form := ids.normalise(query.user)) != query.user}
        if not normal:
            return queries, await self._histories([query.user for query in queries], len(queries))
        found = list(await self._histories([*(query.user for query in queries), *normal.values()], len(queries)))
        histories, others = found[: len(queries)], dict(zip(normal, found[len(queries) :], strict=True))
        unknown = [place for place in normal if histories[place] is UNKNOWN_USER]
        read = list(queries)
        for place in unknown:
            histories[place], read[place] = others[place], replace(queries[place], user=normal[place])
        return read, histories

    async def _histories(self, users: Sequence[str], num_lists: int) -> Histories:
        try:
            histories = await self.feature_client.histories(users)
        except StoreUnavailable as error:
            self._store.begins(error)
            self.metrics.fallbacks.inc(num_lists)
            if isinstance(error, GenerationMissing):
                self.metrics.generation_missing.inc(num_lists)
            return [UNKNOWN_USER for _ in users]
        self._store.ends()
        return histories

    async def _run_ranking(self, num_queries: int, work: Callable[..., list[Candidates]], *arguments: Any) -> list[Candidates]:
        """Run small batches inline and large ones in the thread pool."""
        if num_queries <= self.max_inline_queries:
            return work(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)

    def _candidates(self, queries: Sequence[RecommendRequest], histories: Histories) -> list[Candidates]:
        return [
            self.recommender.candidates(history.items, query.k, query.exclude, history.gaps_s, history.filtered)
            for query, history in zip(queries, histories, strict=True)
        ]

    async def _read_counts(self, queries: Sequence[RecommendRequest], candidates: list[Candidates]) -> Sequence[RankerCounts | None]:
        """Current counts of each user and of the candidates; None for unknown users, and for all if the store does not answer."""
        ids, num_candidates = self.recommender.bundle.items.ids, self.recommender.num_candidates
        stale = self._items.stale(np.concatenate([one.rows[:num_candidates] for one in candidates]))
        try:
            user_counts, item_counts = await self.feature_client.counts(
                [query.user for query in queries], [ids[row] for row in stale.tolist()]
            )
        except StoreUnavailable as error:
            self._counts.begins(error)
            self.metrics.rerank_skipped.inc(len(queries))
            return [None] * len(queries)
        self._counts.ends()
        self._items.keep(stale, item_counts)
        counts: list[RankerCounts | None] = [None] * len(queries)
        for index, rows in enumerate(one.rows[:num_candidates] for one in candidates):
            if len(candidates[index].history_rows):
                row_of = {ids[row]: position for position, row in enumerate(rows.tolist())} if self.feature_log is not None else {}
                counts[index] = RankerCounts(user_counts.part(index), row_of, self._items.of(rows))
        return counts

    def _rerank(self, candidates: list[Candidates], counts: Sequence[RankerCounts | None]) -> list[Candidates]:
        """Rerank each candidate list; those without counts keep the retrieval order."""
        return [
            one if ranker_counts is None else self.recommender.rerank(one, ranker_counts.pair_features())
            for one, ranker_counts in zip(candidates, counts, strict=True)
        ]

    def _respond(self, query: RecommendRequest, history: UserHistory, items: list[Recommendation]) -> RecommendResponse:
        retriever = items[0].retriever if items else POPULAR
        response = RecommendResponse(request_id=secrets.token_hex(16), user=query.user, retriever=retriever, items=items)
        self.metrics.response(retriever)
        if self.impression_log is not None:
            impressions = ImpressionList(
                request_id=response.request_id,
                user=query.user,
                surface=query.surface,
                model_digest=self.digest,
                arm=self.arm,
                feature_hash=feature_hash(history.items),
                items=items,
            )
            self._write(self.impression_log, impressions.rows())
        return response

    def _write(self, log: FileLog | S3Log, rows: bytes) -> None:
        """Append to a log; an error, such as a full disk, loses log rows and not responses."""
        try:
            log.append(rows)
        except OSError as error:
            self._disk.begins(error)
            self.metrics.unlogged.inc()
        else:
            self._disk.ends()


def measure_inline_queries(recommender: Recommender) -> int:
    """Warm the model up, and return how many queries with the longest history it ranks within `INLINE_BUDGET_S`."""
    history = recommender.bundle.items.ids[: recommender.bundle.info.max_length]
    unknown = np.zeros((recommender.num_candidates, len(ranker_inputs.NAMES)), dtype=np.float32)
    durations_s = []
    for _ in range(WARM_UP_REQUESTS):
        started = time.perf_counter()
        candidates = recommender.candidates(history, WARM_UP_K)
        recommender.to_recommendations(recommender.rerank(candidates, unknown[: len(candidates.rows)]))
        durations_s.append(time.perf_counter() - started)
    return int(INLINE_BUDGET_S / min(durations_s))  # the fastest run: slower ones are noise of the machine
