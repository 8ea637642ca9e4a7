"""Events and impressions over HTTP, as one ASGI application: an answer of 202 says that the rows are on the disk.

One bad row refuses the request and nothing of it is kept, so that a sender repairs and repeats it as it is; with `?partial=1` the good
rows are kept and the bad ones listed. What cannot be kept now is 503 with Retry-After.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import orjson

from serving import asgi, asks
from serving.asgi import METRICS, Handler, Operators, Receive, Reply, Request, Scope, Send, says, says_ready
from serving.asks import Refused
from serving.collect.intake import TABLES, Intake, Taken, rows_of
from serving.collect.journal import Busy, Journal, NotKept
from serving.collect.metrics import Metrics
from serving.limits import Load
from serving.metrics import CONTENT_TYPE

MOST_BODY_BYTES = 1 << 20
MOST_AT_ONCE = 1024
RETRY_S = 5
NO_KEY, NOT_KEPT_NOW = "E403", "E506"
PARTIAL = b"partial=1"
ANYONE = "*"
PREFLIGHT_S = b"86400"

logger = logging.getLogger(__name__)


class App:
    """Takes rows into a journal; `key` is what senders must know, `origins` are the sites whose pages may send."""

    def __init__(self, journal: Journal, metrics: Metrics, key: str, origins: tuple[str, ...], load: Load) -> None:
        self._journal, self._metrics, self._key, self._origins = journal, metrics, key.encode(), frozenset(origins)
        self._at_once = 0
        self._large = asyncio.Lock()
        self._says_ready = says_ready(load, {})
        health = {"/": says({"status": "alive"}), "/v2/health/live": says({"live": True}), "/v2/health/ready": self._ready}
        self.operators = Operators({**health, METRICS: self._page})
        self._routes: dict[str, dict[str, Handler]] = {
            **{path: {"GET": handler} for path, handler in health.items()},
            **({} if load.has_operators else {METRICS: {"GET": self._page}}),
            **{f"/v1/{table.name}": {"POST": self._taker(table.name, Intake(table))} for table in TABLES},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: its end waits for the journal's last batch; an HTTP request is answered and counted.

        No exception leaves it for a request: unknown paths are 404 (E404), other methods 405 (E405), faults of ours 500 (E500) and logged.
        """
        if scope["type"] == "lifespan":
            await asgi.live(receive, send, _nothing, self._journal.close)
        elif scope["type"] == "http":
            handlers, request = self._routes.get(scope["path"]), Request(scope, receive)
            reply = await self._replied(handlers, request)
            self._metrics.request(scope["path"] if handlers is not None else "none", reply.status)
            if self._origins and (origin := asgi.header(request, b"origin")) is not None:
                reply = reply._replace(more_headers=[*reply.more_headers, *self._allowed(origin)])
            await asgi.answer(send, reply)

    async def _replied(self, handlers: dict[str, Handler] | None, request: Request) -> Reply:
        try:
            if handlers is None:
                message = f"there is nothing here; there are {', '.join(self._routes)}"
                return asgi.refusal(Refused(asks.NO_SUCH_THING, "path", message, status=HTTPStatus.NOT_FOUND))
            handler = handlers.get(request.scope["method"])
            return await (self._other_method(request, handlers) if handler is None else handler(request))
        except Refused as refused:
            return asgi.refusal(refused)
        except Exception:  # an entry point: what is wrong here is ours, and goes to the log only
            logger.exception("a request on %s failed", request.scope["path"])
            message = "the collector failed; its log says why"
            return asgi.refusal(Refused(asks.INTERNAL, "", message, status=HTTPStatus.INTERNAL_SERVER_ERROR))

    def _taker(self, table: str, intake: Intake) -> Callable[[Request], Awaitable[Reply]]:
        async def take(request: Request) -> Reply:
            self._check_key(request)
            body = await asgi.body(request, MOST_BODY_BYTES)
            if self._at_once >= MOST_AT_ONCE:
                return _later("too many requests wait")
            self._at_once += 1
            try:
                taken = await self._taken(intake, body)
                return await self._kept(table, taken, is_partial=PARTIAL in request.scope["query_string"].split(b"&"))
            finally:
                self._at_once -= 1

        return take

    async def _taken(self, intake: Intake, body: bytes) -> Taken:
        """Large bodies one by one, so that no other waits for more than one of them."""
        if len(body) <= asgi.SMALL_BODY_BYTES:
            return _judged(intake, body)
        async with self._large:
            await asyncio.sleep(0)  # the event loop looks for others between any two
            return _judged(intake, body)

    async def _kept(self, table: str, taken: Taken, *, is_partial: bool) -> Reply:
        self._metrics.refused(table, (fault for _, fault in taken.refused))
        if taken.refused and not (is_partial and taken.lines):
            return _unprocessable(taken, is_partial=is_partial)
        start = time.perf_counter()
        try:
            await self._journal.keep(table, taken.lines)
        except Busy:
            return _later("too much waits for the object store or the disk")
        except NotKept:
            return _later("the disk refuses")
        self._metrics.write_s.observe(time.perf_counter() - start)
        self._metrics.kept(table, taken.num_rows)
        content: dict[str, Any] = {"accepted": taken.num_rows}
        if taken.refused:
            content["refused"] = _listed(taken)
        if taken.ignored:
            content["ignored"] = sorted(taken.ignored)
        return Reply(orjson.dumps(content), status=HTTPStatus.ACCEPTED)

    def _check_key(self, request: Request) -> None:
        if self._key:
            given = (asgi.header(request, b"authorization") or "").encode()
            if not hmac.compare_digest(given, b"Bearer " + self._key):
                message = "send the header Authorization: Bearer KEY, with the collector's key"
                raise Refused(NO_KEY, "authorization", message, status=HTTPStatus.UNAUTHORIZED)

    def _allowed(self, origin: str) -> list[tuple[bytes, bytes]]:
        """What tells a browser that a page of this origin may send, and see the answer."""
        if ANYONE not in self._origins and origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", b"retry-after"),
            (b"vary", b"origin"),
        ]

    async def _other_method(self, request: Request, handlers: dict[str, Handler]) -> Reply:
        method = request.scope["method"]
        if method == "HEAD" and "GET" in handlers:
            return await handlers["GET"](request)
        if method == "OPTIONS" and "POST" in handlers and self._origins:
            allowed = [
                (b"access-control-allow-methods", b"POST"),
                (b"access-control-allow-headers", b"authorization, content-type"),
                (b"access-control-max-age", PREFLIGHT_S),
            ]
            return Reply(b"", status=HTTPStatus.NO_CONTENT, more_headers=allowed)
        refused, allowed_methods = asgi.other_method(request, handlers)
        return asgi.refusal(refused)._replace(more_headers=[allowed_methods])

    async def _ready(self, request: Request) -> Reply:
        if self._journal.spool.is_full:
            return _later("too much waits for the object store or the disk")
        return await self._says_ready(request)

    async def _page(self, _request: Request) -> Reply:
        self._metrics.waiting.set(self._journal.spool.waiting_bytes)
        return Reply(self._metrics.page(), (b"content-type", CONTENT_TYPE.encode()))


def _judged(intake: Intake, body: bytes) -> Taken:
    asks.count_containers(body)
    sent = rows_of(body)
    return intake.take(sent.rows, faults=sent.faults)


async def _nothing() -> None:
    pass


def _unprocessable(taken: Taken, *, is_partial: bool) -> Reply:
    """The first bad row; all of them where the good ones would have been kept."""
    row, fault = taken.refused[0]
    more = {"accepted": 0, "refused": _listed(taken)} if is_partial else {}
    return asgi.refusal(Refused(fault.code, fault.field, fault.message), row=row, **more)


def _listed(taken: Taken) -> list[dict[str, Any]]:
    return [{"row": row, "code": fault.code, "field": fault.field, "message": fault.message} for row, fault in taken.refused]


def _later(why: str) -> Reply:
    refused = Refused(NOT_KEPT_NOW, "", f"nothing was kept: {why}; send it again later", status=HTTPStatus.SERVICE_UNAVAILABLE)
    return asgi.refusal(refused)._replace(more_headers=[(b"retry-after", b"%d" % RETRY_S)])
