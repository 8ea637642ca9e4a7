"""From what was asked to what is shown: histories and counts from the online store, the engine's ranking, a row in the impression log."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lodestar.engine.recommender import POPULAR, Candidates, Recommendation, Recommender
from lodestar.schema import pairs
from serving.asks import Ask
from serving.features import NOBODY, Features, GenerationMissing, Histories, Recent, StoreFailed
from serving.impressions import BucketLog, FileLog, Shown, feature_hash
from serving.item_counts import ItemCounts
from serving.metrics import Metrics
from serving.packed import Numbers
from serving.served import Answer, Counted, Served

WARM_UP_REQUESTS = 20
WARM_UP_K = 10
# What takes longer than this to rank runs beside the event loop, so that it holds up no probe; a thread costs about 0.1 ms.
SHORT_S = 0.01
THREADS = 2

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Trouble:
    """Something that may fail for a while; its beginning and its end are logged, and not each of many requests between."""

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
    """Everything that answers, put together; `log` and `proof` (see `serving.served`) are None where they are not kept.

    Requests for more than `short_asks` lists are ranked in the pool.
    """

    recommender: Recommender
    features: Features
    metrics: Metrics
    log: FileLog | BucketLog | None
    arm: str
    short_asks: int
    proof: FileLog | BucketLog | None = None
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS, thread_name_prefix="rank"))
    _items: ItemCounts = field(init=False)
    _store: Trouble = field(default_factory=lambda: Trouble(what="the online store"))
    _counts: Trouble = field(default_factory=lambda: Trouble(what="reading counts"))
    _disk: Trouble = field(default_factory=lambda: Trouble(what="the impression log"))

    def __post_init__(self) -> None:
        num_items = len(self.recommender.bundle.items) if self.recommender.reranker is not None else 0
        object.__setattr__(self, "_items", ItemCounts(num_items))

    @property
    def digest(self) -> str:
        """The digest of the bundle, which names the model's version in answers, metrics and the impression log."""
        return self.recommender.bundle.digest

    async def open(self) -> None:
        """Connect to the store, so that the first request need not; where it is away, that is logged and no reason not to start."""
        try:
            await self.features.histories([""])
        except StoreFailed as error:
            self._store.begins(error)

    async def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """A list for each ask, logged before it is returned; a store that fails makes it one for anyone, or one in retrieval's order."""
        started = time.perf_counter()
        histories = await self._histories(asks)
        found = await self._worked(len(asks), self._candidates, asks, histories)
        counted: Sequence[Counted | None] = [None] * len(asks)
        if self.recommender.reranker is not None and any(len(one.seen) for one in found):
            counted = await self._counted(asks, found)
            found = await self._worked(len(asks), self._put_in_order, found, counted)
        lists = [self.recommender.listed(one, ask.user) for ask, one in zip(asks, found, strict=True)]
        answers = [self._shown(ask, history, places) for ask, history, places in zip(asks, histories, lists, strict=True)]
        if self.proof is not None:
            generation = self.recommender.bundle.info.features
            for answer, history, one in zip(answers, histories, counted, strict=True):
                self._write(self.proof, Served(answer=answer, generation=generation, history=history, counted=one).row())
        self.metrics.predicted(time.perf_counter() - started)
        return answers

    async def close(self) -> None:
        """Give back connections, and send what is logged."""
        await self.features.close()
        self.pool.shutdown(wait=False, cancel_futures=True)  # what still runs was waited for, and may never end
        for log in (self.log, self.proof):
            if log is not None:
                await asyncio.to_thread(log.close)

    async def _histories(self, asks: Sequence[Ask]) -> Histories:
        try:
            histories = await self.features.histories([ask.user for ask in asks])
        except StoreFailed as error:
            self._store.begins(error)
            self.metrics.fallbacks.inc(len(asks))
            if isinstance(error, GenerationMissing):
                self.metrics.generation_missing.inc(len(asks))
            return [NOBODY for _ in asks]
        self._store.ends()
        return histories

    async def _worked(self, asks: int, work: Callable[..., list[Candidates]], *given: Any) -> list[Candidates]:
        """Here where it is little, and beside the event loop where it is much."""
        if asks <= self.short_asks:
            return work(*given)
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *given)

    def _candidates(self, asks: Sequence[Ask], histories: Histories) -> list[Candidates]:
        return [
            self.recommender.candidates(history.items, ask.k, ask.exclude, history.gaps_s)
            for ask, history in zip(asks, histories, strict=True)
        ]

    async def _counted(self, asks: Sequence[Ask], found: list[Candidates]) -> Sequence[Counted | None]:
        """What is counted now of who asks and of the candidates; None where nobody is known, or where the store does not say."""
        ids, size = self.recommender.bundle.items.ids, self.recommender.looks_at
        stale = self._items.stale(np.concatenate([one.rows[:size] for one in found]))
        try:
            of_users, of_items = await self.features.counts([ask.user for ask in asks], [ids[row] for row in stale.tolist()])
        except StoreFailed as error:
            self._counts.begins(error)
            self.metrics.unranked.inc(len(asks))
            return [None] * len(asks)
        self._counts.ends()
        self._items.keep(stale, of_items)
        return [self._counted_of(one, of_users.part(place)) if len(one.seen) else None for place, one in enumerate(found)]

    def _counted_of(self, found: Candidates, of_user: Numbers) -> Counted:
        rows, ids = found.rows[: self.recommender.looks_at], self.recommender.bundle.items.ids
        named = {ids[row]: place for place, row in enumerate(rows.tolist())} if self.proof is not None else {}
        return Counted(of_user, named, self._items.of(rows))

    def _put_in_order(self, found: list[Candidates], counted: Sequence[Counted | None]) -> list[Candidates]:
        """In the ranker's order, as they are where nothing is counted."""
        return [
            one if given is None else self.recommender.reranked(one, given.numbers()) for one, given in zip(found, counted, strict=True)
        ]

    def _shown(self, ask: Ask, history: Recent, places: list[Recommendation]) -> Answer:
        retriever = places[0].retriever if places else POPULAR
        answer = Answer(request_id=secrets.token_hex(16), user=ask.user, retriever=retriever, places=places)
        self.metrics.answer(retriever)
        if self.log is not None:
            shown = Shown(
                request_id=answer.request_id,
                user=ask.user,
                surface=ask.surface,
                model_digest=self.digest,
                arm=self.arm,
                feature_hash=feature_hash(history.items),
                places=places,
            )
            self._write(self.log, shown.rows())
        return answer

    def _write(self, log: FileLog | BucketLog, rows: bytes) -> None:
        """A full disk costs rows of the log, and not answers."""
        try:
            log.append(rows)
        except OSError as error:
            self._disk.begins(error)
            self.metrics.unlogged.inc()
        else:
            self._disk.ends()


def short_asks(recommender: Recommender) -> int:
    """Warm the model up, and say how many of the longest histories it ranks in `SHORT_S`."""
    history = recommender.bundle.items.ids[: recommender.bundle.info.max_length]
    unknown = np.zeros((recommender.looks_at, len(pairs.NAMES)), dtype=np.float32)
    took_s = []
    for _ in range(WARM_UP_REQUESTS):
        started = time.perf_counter()
        found = recommender.candidates(history, WARM_UP_K)
        recommender.listed(recommender.reranked(found, unknown[: len(found.rows)]))
        took_s.append(time.perf_counter() - started)
    return int(SHORT_S / min(took_s))  # what is more is the machine's, and not the model's
