"""Concurrency limits of the predictor: a maximum of requests, and large ones one at a time, so that a small one waits for at most one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from serving import requests
from serving.feature_log import RecommendResponse
from serving.http.asgi import SMALL_BODY_BYTES, Reply, Request
from serving.predictor import Predictor
from serving.requests import InvalidRequest, RecommendRequest

MAX_CONCURRENCY = 256  # requests waiting for a response; probes and metrics are not counted
# A large request has more positions in all, or a longer body, which takes long to parse already.
SMALL_TOTAL_K, MAX_LARGE = 200, 16


class RecommendBatch(Protocol):
    """The queries of one HTTP request, in any of the protocols."""

    @property
    def queries(self) -> Sequence[RecommendRequest]:
        """The queries, at least one, in the order of the responses."""


Batch = TypeVar("Batch", bound=RecommendBatch)


class RequestQueue:
    """Admits the requests of one application: at most MAX_CONCURRENCY, large ones one at a time."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._num_concurrent = self._num_large = 0
        self._large = asyncio.Lock()

    async def reply(
        self, request: Request, body: bytes, decode: Callable[[bytes], Batch], encode: Callable[[Batch, list[RecommendResponse]], Reply]
    ) -> Reply:
        """Decode, predict and encode a request whose body is complete.

        InvalidRequest E429 (429) if too many requests wait, E447 (400) if the client has disconnected. Incomplete requests are not counted,
        since slow clients must not block others.
        """
        if self._num_concurrent >= MAX_CONCURRENCY:
            raise _too_many()
        self._num_concurrent += 1
        try:
            batch = decode(body) if len(body) <= SMALL_BODY_BYTES else None
            if batch is not None and _total_k(batch.queries) <= SMALL_TOTAL_K:
                return encode(batch, await self._predictor.recommend(batch.queries))
            async with self._one_large(request):
                batch = decode(body) if batch is None else batch
                return encode(batch, await self._predictor.recommend(batch.queries))
        finally:
            self._num_concurrent -= 1

    @asynccontextmanager
    async def _one_large(self, request: Request) -> AsyncIterator[None]:
        if self._num_large >= MAX_LARGE:
            raise _too_many()
        self._num_large += 1
        try:
            await self._acquire_large(request)
            try:
                await asyncio.sleep(0)  # let the event loop serve other requests in between
                yield
            finally:
                self._large.release()
        finally:
            self._num_large -= 1

    async def _acquire_large(self, request: Request) -> None:
        """Wait for the lock of large requests and acquire it; InvalidRequest E447 if the client disconnects meanwhile."""
        if self._num_large == 1:
            await self._large.acquire()
            return
        disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
        acquired = asyncio.ensure_future(self._large.acquire())
        has_lock = False
        try:
            await asyncio.wait((disconnect, acquired), return_when=asyncio.FIRST_COMPLETED)
            has_lock = acquired.done()
        finally:
            disconnect.cancel()
            if not has_lock and not acquired.cancel():
                self._large.release()  # it was acquired while this task was cancelled
        if not has_lock:
            raise InvalidRequest(requests.DISCONNECTED, "", "the connection ended before the answer")


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client has disconnected; the rest of the request comes first, an empty message if it has no body."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _total_k(queries: Sequence[RecommendRequest]) -> int:
    return queries[0].k if len(queries) == 1 else sum(query.k for query in queries)


def _too_many() -> InvalidRequest:
    return InvalidRequest(requests.TOO_MANY, "", "too many requests are waiting; retry in a moment")
