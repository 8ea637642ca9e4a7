"""HTTP API of the collector, an ASGI application: status 202 means that the rows are durable on disk.

One row error rejects the whole request (422), so that a sender can correct and repeat it; with `?partial=1` valid rows are kept and row
errors listed. Rows that cannot be stored now get 503 with Retry-After.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import orjson

from lodestar.schema.time_units import DAY_S
from serving import requests
from serving.collector.intake import TABLES, Intake, IntakeResult, rows_of
from serving.collector.journal import Journal, NotKept, Overloaded
from serving.collector.metrics import Metrics
from serving.http import asgi
from serving.http.asgi import Handler, Operators, Receive, Reply, Request, Scope, Send, health_handlers, public_operators, readiness_json
from serving.http.connection_limits import Load
from serving.metrics import CONTENT_TYPE
from serving.requests import InvalidRequest
from serving.routes import COLLECTOR, OPERATORS

MAX_BODY_BYTES = 1 << 20
MAX_CONCURRENCY = 1024
RETRY_S = 5
PARTIAL = b"partial=1"
ANYONE = "*"
PREFLIGHT_S = b"%d" % DAY_S

logger = logging.getLogger(__name__)


class App:
    """The collector's ASGI application; `key` is the senders' bearer token ("" for none), `origins` are CORS origins."""

    def __init__(self, journal: Journal, metrics: Metrics, key: str, origins: tuple[str, ...], load: Load) -> None:
        self._journal, self._metrics, self._key, self._origins = journal, metrics, key.encode(), frozenset(origins)
        self._num_concurrent = 0
        self._large = asyncio.Lock()
        self._readiness = readiness_json(load, {})
        operators: dict[str, Handler] = {**health_handlers(load), "ready": self._ready, "metrics": self._page}
        self.operators = Operators({route.path: operators[route.handler] for route in OPERATORS})
        handlers = operators | {table.name: self._post_handler(table.name, Intake(table)) for table in TABLES}
        self._routes: dict[str, dict[str, Handler]] = {
            route.path: {route.method: handlers[route.handler]} for route in (*public_operators(load), *COLLECTOR)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point: answers and counts a request; the end of the lifespan waits for the journal's last batch.

        Unknown paths are 404 (E404), other methods 405 (E405), faults of the collector 500 (E500), logged with their stack trace.
        """
        if scope["type"] == "lifespan":
            await asgi.lifespan(receive, send, _nothing, self._journal.close)
        elif scope["type"] == "http":
            handlers, request = self._routes.get(scope["path"]), Request(scope, receive)
            reply = await self._reply(handlers, request)
            self._metrics.request(scope["path"] if handlers is not None else "none", reply.status)
            if self._origins and (origin := asgi.header(request, b"origin")) is not None:
                reply = reply._replace(more_headers=[*reply.more_headers, *self._allowed(origin)])
            await asgi.send_reply(send, reply)

    async def _reply(self, handlers: dict[str, Handler] | None, request: Request) -> Reply:
        try:
            if handlers is None:
                message = f"there is nothing here; there are {', '.join(self._routes)}"
                return asgi.refusal(InvalidRequest(requests.NO_SUCH_THING, "path", message))
            handler = handlers.get(request.scope["method"])
            return await (self._other_method(request, handlers) if handler is None else handler(request))
        except InvalidRequest as refused:
            return asgi.refusal(refused)
        except Exception:  # an entry point: a fault of the collector goes to the log only
            logger.exception("a request on %s failed", request.scope["path"])
            message = "the collector failed; its log says why"
            return asgi.refusal(InvalidRequest(requests.INTERNAL, "", message))

    def _post_handler(self, table: str, intake: Intake) -> Callable[[Request], Awaitable[Reply]]:
        async def post(request: Request) -> Reply:
            self._check_key(request)
            body = await asgi.body(request, MAX_BODY_BYTES)
            if self._num_concurrent >= MAX_CONCURRENCY:
                return _later("too many requests are waiting")
            self._num_concurrent += 1
            try:
                result = await self._validate(intake, body)
                return await self._store(table, result, is_partial=PARTIAL in request.scope["query_string"].split(b"&"))
            finally:
                self._num_concurrent -= 1

        return post

    async def _validate(self, intake: Intake, body: bytes) -> IntakeResult:
        """Validate a body; large ones one at a time, so that a small request waits for at most one of them."""
        if len(body) <= asgi.SMALL_BODY_BYTES:
            return _decode_and_validate(intake, body)
        async with self._large:
            await asyncio.sleep(0)  # let the event loop serve other requests in between
            return _decode_and_validate(intake, body)

    async def _store(self, table: str, result: IntakeResult, *, is_partial: bool) -> Reply:
        self._metrics.refused(table, (rejection for _, rejection in result.rejected))
        if result.rejected and not (is_partial and result.lines):
            return _unprocessable(result, is_partial=is_partial)
        start = time.perf_counter()
        try:
            await self._journal.keep(table, result.lines)
        except Overloaded:
            return _later("too many rows wait for the landing")
        except NotKept:
            return _later("the disk cannot be written")
        self._metrics.write_s.observe(time.perf_counter() - start)
        self._metrics.kept(table, result.num_rows)
        content: dict[str, Any] = {"accepted": result.num_rows}
        if result.rejected:
            content["rejected"] = _rejections_json(result)
        if result.ignored:
            content["ignored"] = sorted(result.ignored)
        if result.nulled:
            self._metrics.nulled(table, result.nulled)
            content["nulled"] = _nulled_json(result)
        return Reply(orjson.dumps(content), status=HTTPStatus.ACCEPTED)

    def _check_key(self, request: Request) -> None:
        if self._key:
            given = (asgi.header(request, b"authorization") or "").encode()
            if not hmac.compare_digest(given, b"Bearer " + self._key):
                message = "send the header Authorization: Bearer KEY, with the collector's key"
                raise InvalidRequest(requests.NO_KEY, "authorization", message)

    def _allowed(self, origin: str) -> list[tuple[bytes, bytes]]:
        """CORS headers of a response to an allowed origin."""
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
            return _later("too many rows wait for the landing")
        return await self._readiness(request)

    async def _page(self, _request: Request) -> Reply:
        self._metrics.waiting.set(self._journal.spool.waiting_bytes)
        return Reply(self._metrics.page(), (b"content-type", CONTENT_TYPE.encode()))


def _decode_and_validate(intake: Intake, body: bytes) -> IntakeResult:
    if len(body) >= requests.CONTAINER_BYTES * requests.MAX_CONTAINERS:
        requests.count_containers(body)
    sent = rows_of(body)
    return intake.take(sent.rows, rejections=sent.rejections)


async def _nothing() -> None:
    pass


def _unprocessable(result: IntakeResult, *, is_partial: bool) -> Reply:
    """422 with the first row error; with all of them if valid rows would have been kept."""
    row, rejection = result.rejected[0]
    more = {"accepted": 0, "rejected": _rejections_json(result)} if is_partial else {}
    return asgi.refusal(InvalidRequest(rejection.code, rejection.field, rejection.message), row=row, **more)


def _rejections_json(result: IntakeResult) -> list[dict[str, Any]]:
    return [{"row": row, "code": one.code, "field": one.field, "message": one.message} for row, one in result.rejected]


def _nulled_json(result: IntakeResult) -> dict[str, dict[str, int]]:
    """Number of cells that were left out, by code under their field."""
    found: dict[str, dict[str, int]] = {}
    for (field, code), count in sorted(result.nulled.items()):
        found.setdefault(field, {})[code] = count
    return found


def _later(why: str) -> Reply:
    refused = InvalidRequest(requests.NOT_STORED_NOW, "", f"nothing was stored: {why}; retry later")
    return asgi.refusal(refused)._replace(more_headers=[(b"retry-after", b"%d" % RETRY_S)])
