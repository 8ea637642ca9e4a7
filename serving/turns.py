"""Who is answered when: so many requests at once, and large ones one by one, so that no other waits for more than one of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Protocol, TypeVar

from serving import asks
from serving.asgi import SMALL_BODY_BYTES, Reply, Request
from serving.asks import Ask, Refused
from serving.predictor import Predictor
from serving.served import Answer

MOST_AT_ONCE = 256  # requests that wait for an answer; probes and metrics are answered whatever else waits
# A large request asks for more places in all, or has a longer body, which takes long to read already.
SMALL_PLACES, MOST_LARGE = 200, 16


class Asked(Protocol):
    """What a request holds, whatever its protocol."""

    @property
    def asks(self) -> Sequence[Ask]:
        """The requests for a list each, at least one, in the order of the answers."""


A = TypeVar("A", bound=Asked)


class Turns:
    """The requests of one application that are under way."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._at_once = self._num_large = 0
        self._large = asyncio.Lock()

    async def reply(self, request: Request, body: bytes, decode: Callable[[bytes], A], encode: Callable[[A, list[Answer]], Reply]) -> Reply:
        """The reply to a request whose body has come; Refused with 429 where too many wait, and 400 where the caller has gone meanwhile.

        Requests count from when they are whole: those that never are must not keep others out.
        """
        if self._at_once >= MOST_AT_ONCE:
            raise _too_many()
        self._at_once += 1
        try:
            asked = decode(body) if len(body) <= SMALL_BODY_BYTES else None
            if asked is not None and _num_places(asked.asks) <= SMALL_PLACES:
                return encode(asked, await self._predictor.answer(asked.asks))
            async with self._one_large(request):
                asked = decode(body) if asked is None else asked
                return encode(asked, await self._predictor.answer(asked.asks))
        finally:
            self._at_once -= 1

    @asynccontextmanager
    async def _one_large(self, request: Request) -> AsyncIterator[None]:
        if self._num_large >= MOST_LARGE:
            raise _too_many()
        self._num_large += 1
        try:
            await self._wait(request)
            try:
                await asyncio.sleep(0)  # the event loop looks for others between any two
                yield
            finally:
                self._large.release()
        finally:
            self._num_large -= 1

    async def _wait(self, request: Request) -> None:
        """Until it is a large request's turn, which is taken; Refused where its caller has gone and nobody would read the answer."""
        if self._num_large == 1:
            await self._large.acquire()
            return
        gone = asyncio.ensure_future(_gone(request))
        turn = asyncio.ensure_future(self._large.acquire())
        is_taken = False
        try:
            await asyncio.wait((gone, turn), return_when=asyncio.FIRST_COMPLETED)
            is_taken = turn.done()
        finally:
            gone.cancel()
            if not is_taken and not turn.cancel():
                self._large.release()  # it came while this task was cancelled
        if not is_taken:
            raise Refused(asks.NOT_HTTP, "", "the connection ended before the answer", status=HTTPStatus.BAD_REQUEST)


async def _gone(request: Request) -> None:
    """Until the caller has; before that comes what is left of the request, and of one without a body an empty one."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _num_places(asked: Sequence[Ask]) -> int:
    return asked[0].k if len(asked) == 1 else sum(ask.k for ask in asked)


def _too_many() -> Refused:
    return Refused(asks.TOO_MANY, "", "too many requests wait; ask again in a moment", status=HTTPStatus.TOO_MANY_REQUESTS)
