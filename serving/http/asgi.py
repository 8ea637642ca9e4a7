"""Shared parts of the ASGI applications: request bodies and headers, replies, error responses, health, and the lifespan."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from serving import requests
from serving.http.connection_limits import Load
from serving.requests import InvalidRequest
from serving.routes import METRICS, OPERATORS, Route

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_LENGTH_DIGITS = 20
SMALL_BODY_BYTES = 32 << 10  # larger bodies take long to parse, and are parsed one at a time
LENGTH, ALLOW = b"content-length", b"allow"
JSON, OCTETS = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
# Responses are personal, and must not be cached by proxies.
NO_STORE = (b"cache-control", b"no-store")


class Reply(NamedTuple):
    """A complete HTTP response."""

    body: bytes
    content_type: tuple[bytes, bytes] = JSON
    status: int = 200
    more_headers: Sequence[tuple[bytes, bytes]] = ()


class Request(NamedTuple):
    """An HTTP request; its body is not read yet."""

    scope: Scope
    receive: Receive


Handler = Callable[[Request], Awaitable[Reply]]


async def lifespan(receive: Receive, send: Send, opened: Callable[[], Awaitable[None]], closed: Callable[[], Awaitable[None]]) -> None:
    """Handle the ASGI lifespan: `opened` at startup, `closed` at shutdown."""
    await receive()
    await opened()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await closed()
    await send({"type": "lifespan.shutdown.complete"})


async def send_reply(send: Send, reply: Reply) -> None:
    """Send a reply as ASGI messages, its body as one message, with `content-length` and `cache-control: no-store`."""
    headers = [reply.content_type, (LENGTH, b"%d" % len(reply.body)), NO_STORE, *reply.more_headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


class Operators:
    """An ASGI application of health and metrics alone, for the operators' port."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD on the routes; 404 (E404) for another path, 405 (E405) with `allow` for another method."""
        handler, request = self._routes.get(scope["path"]), Request(scope, receive)
        if handler is None:
            message = f"there is nothing here; there are {', '.join(self._routes)}"
            reply = refusal(InvalidRequest(requests.NO_SUCH_THING, "path", message))
        elif scope["method"] not in ("GET", "HEAD"):
            refused, allowed = other_method(request, {"GET": handler})
            reply = refusal(refused)._replace(more_headers=[allowed])
        else:
            reply = await handler(request)
        await send_reply(send, reply)


def health_handlers(load: Load) -> dict[str, Handler]:
    """Handlers of the routes of health, by their names in `routes.OPERATORS`."""
    return {"alive": constant_json({"status": "alive"}), "live": constant_json({"live": True}), "ready": readiness_json(load, {})}


def public_operators(load: Load) -> Sequence[Route]:
    """Routes of health and metrics on the port for requests: without metrics if operators have a port of their own."""
    return [route for route in OPERATORS if not (load.has_operators and route.path == METRICS)]


def readiness_json(load: Load, content: Mapping[str, Any]) -> Handler:
    """A readiness handler: 200 with the content and `ready`, 503 once the process drains."""
    ready = Reply(orjson.dumps({**content, "ready": True}))
    draining = Reply(orjson.dumps({**content, "ready": False}), status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def handle(_request: Request) -> Reply:
        return draining if load.is_draining else ready

    return handle


def constant_json(content: Mapping[str, Any]) -> Handler:
    """A handler with a constant JSON response."""
    reply = Reply(orjson.dumps(content))

    async def handle(_request: Request) -> Reply:
        return reply

    return handle


def refusal(refused: InvalidRequest, /, **more: Any) -> Reply:
    """The JSON error response of an invalid request: code, field, message and `more` fields."""
    content = {"code": refused.code, "field": refused.field, "message": refused.message, **more}
    return Reply(orjson.dumps(content), status=refused.status)


def other_method(request: Request, handlers: Mapping[str, Handler]) -> tuple[InvalidRequest, tuple[bytes, bytes]]:
    """The 405 error (E405) of an unsupported method, and its `allow` header."""
    message = f"{request.scope['method'][:16]} is not supported here"
    refused = InvalidRequest(requests.NO_SUCH_METHOD, "method", message)
    return refused, (ALLOW, ", ".join(handlers).encode())


async def body(request: Request, most_bytes: int) -> bytes:
    """Read the whole body; InvalidRequest E413 as soon as it is known to be too large, E447 if the client disconnects."""
    declared = header(request, LENGTH) or ""
    if declared.isdecimal() and int(declared[:MAX_LENGTH_DIGITS]) > most_bytes:
        raise _too_large(most_bytes)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest(requests.DISCONNECTED, "", "the connection ended before the body")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most_bytes:
            raise _too_large(most_bytes)
        more = message.get("more_body", False)
    return b"".join(parts)


def header(request: Request, name: bytes) -> str | None:
    """The first value of a request's header, as Latin-1, None where there is none; `name` in lower case, as ASGI has them."""
    return next((value.decode("latin-1") for key, value in request.scope["headers"] if key == name), None)


def _too_large(most_bytes: int) -> InvalidRequest:
    return InvalidRequest(requests.TOO_LARGE, "", f"a body has at most {most_bytes:,} bytes")
