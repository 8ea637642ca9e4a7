"""From what was asked to what is shown: histories from the online store, the engine's ranking, a row in the impression log."""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lodestar.engine.recommender import POPULAR, Recommendation, Recommender
from serving.asks import Ask
from serving.features import Features, Histories, StoreFailed
from serving.impressions import BucketLog, FileLog, Shown, feature_hash
from serving.metrics import Metrics

WARM_UP_REQUESTS = 20
WARM_UP_K = 10
# A ranking that takes longer than this runs beside the event loop, so that it holds up no probe; a thread costs about 0.1 ms.
SHORT_S = 0.005
THREADS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One list, best first; `retriever` says whether it was made for the user or for anyone."""

    request_id: str
    user: str
    retriever: str
    places: list[Recommendation]


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """Everything that answers, put together; `log` is None where nothing is logged."""

    recommender: Recommender
    features: Features
    metrics: Metrics
    log: FileLog | BucketLog | None
    arm: str
    pool: ThreadPoolExecutor | None

    @property
    def digest(self) -> str:
        return self.recommender.bundle.digest

    async def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """A list for each ask, logged before it is returned; a store that fails makes it one for anyone."""
        started = time.perf_counter()
        histories = await self._histories(asks)
        lists = await self._ranked(asks, histories)
        answers = [self._shown(ask, history, places) for ask, history, places in zip(asks, histories, lists, strict=True)]
        self.metrics.predicted(time.perf_counter() - started)
        return answers

    async def close(self) -> None:
        """Give back connections, and send what is logged."""
        await self.features.close()
        if self.log is not None:
            await asyncio.to_thread(self.log.close)
        if self.pool is not None:
            self.pool.shutdown()

    async def _histories(self, asks: Sequence[Ask]) -> Histories:
        try:
            return await self.features.histories([ask.user for ask in asks])
        except StoreFailed as error:
            logger.warning("answering without histories: the online store failed: %s", error)
            self.metrics.fallbacks.inc(len(asks))
            return [() for _ in asks]

    async def _ranked(self, asks: Sequence[Ask], histories: Histories) -> list[list[Recommendation]]:
        if self.pool is None:
            return self._rank(asks, histories)
        return await asyncio.get_running_loop().run_in_executor(self.pool, self._rank, asks, histories)

    def _rank(self, asks: Sequence[Ask], histories: Histories) -> list[list[Recommendation]]:
        return [self.recommender.recommend(history, ask.k, exclude=ask.exclude) for ask, history in zip(asks, histories, strict=True)]

    def _shown(self, ask: Ask, history: tuple[str, ...], places: list[Recommendation]) -> Answer:
        retriever = places[0].retriever if places else POPULAR
        answer = Answer(request_id=uuid.uuid4().hex, user=ask.user, retriever=retriever, places=places)
        self.metrics.answer(retriever)
        if self.log is not None:
            shown = Shown(
                request_id=answer.request_id,
                user=ask.user,
                surface=ask.surface,
                model_digest=self.digest,
                arm=self.arm,
                feature_hash=feature_hash(history),
                places=places,
            )
            self._write(shown.rows())
        return answer

    def _write(self, rows: bytes) -> None:
        """A full disk costs rows of the log, and not answers."""
        try:
            self.log.append(rows)  # type: ignore[union-attr]
        except OSError as error:
            logger.warning("impressions were not logged: %s", error)
            self.metrics.unlogged.inc()


def pool_for(recommender: Recommender) -> ThreadPoolExecutor | None:
    """Warm the model up, and say whether its ranking is long enough to need threads of its own."""
    history = recommender.bundle.items.ids[: recommender.bundle.info.max_length]
    recommender.recommend(history, WARM_UP_K)
    started = time.perf_counter()
    for _ in range(WARM_UP_REQUESTS):
        recommender.recommend(history, WARM_UP_K)
    is_short = (time.perf_counter() - started) / WARM_UP_REQUESTS < SHORT_S
    return None if is_short else ThreadPoolExecutor(THREADS, thread_name_prefix="rank")
