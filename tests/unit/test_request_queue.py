"""Large requests wait for one another in the order in which they came, and for no caller who has gone."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from serving.feature_log import RecommendResponse
from serving.http.asgi import Reply, Request
from serving.predictor import Predictor
from serving.request_queue import SMALL_TOTAL_K, RequestQueue
from serving.requests import InvalidRequest, RecommendRequest


class Slow:
    """A predictor that answers one after another, when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.may = asyncio.Semaphore(0)

    async def recommend(self, asked: Sequence[RecommendRequest]) -> list[RecommendResponse]:
        self.asked.append(asked[0].user)
        await self.may.acquire()
        return []


class Large:
    """One ask for many places, by a user."""

    def __init__(self, body: bytes) -> None:
        self.queries = [RecommendRequest(user=body.decode(), k=SMALL_TOTAL_K + 1)]


class Caller:
    """Who has sent a request without a body: the server says so at once, and no more until they go."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    def go(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


def test_large_requests_without_a_body_wait_and_are_answered_in_order() -> None:
    async def asked() -> None:
        slow, callers = Slow(), {name: Caller() for name in "abcd"}
        turns = RequestQueue(cast("Predictor", slow))
        tasks = {
            name: asyncio.ensure_future(
                turns.reply(Request({}, caller.messages.get), name.encode(), Large, lambda large, _: Reply(large.queries[0].user.encode()))
            )
            for name, caller in callers.items()
        }
        await _settled()
        assert slow.asked == ["a"]
        callers["b"].go()
        await _settled()
        refused = tasks.pop("b").exception()
        assert isinstance(refused, InvalidRequest)
        assert refused.code == "E447"
        for _ in tasks:
            slow.may.release()
            await _settled()
        assert [(await task).body for task in tasks.values()] == [b"a", b"c", b"d"]
        assert slow.asked == ["a", "c", "d"]

    asyncio.run(asked())


def test_a_waiter_who_is_given_up_keeps_nobody_waiting() -> None:
    async def asked() -> None:
        slow = Slow()
        turns = RequestQueue(cast("Predictor", slow))
        first, second, third = (
            asyncio.ensure_future(turns.reply(Request({}, Caller().messages.get), name, Large, lambda *_: Reply(b"")))
            for name in (b"a", b"b", b"c")
        )
        await _settled()
        slow.may.release()
        second.cancel()
        await _settled()
        slow.may.release()
        await _settled()
        assert [task.done() for task in (first, second, third)] == [True, True, True]
        assert slow.asked == ["a", "c"]

    asyncio.run(asked())


async def _settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
