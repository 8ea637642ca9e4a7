"""What our ASGI applications share: a request's body and headers, replies, refusals, and the start and end of a process."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from serving import asks
from serving.asks import Refused
from serving.limits import Load

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_LENGTH_DIGITS = 20
SMALL_BODY_BYTES = 32 << 10  # larger ones take long to read already, and are read one by one
LENGTH, ALLOW = b"content-length", b"allow"
METRICS = "/metrics"
JSON, OCTETS = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
# Answers are one person's, and are not to be kept on the way.
NOT_KEPT = (b"cache-control", b"no-store")


class Reply(NamedTuple):
    """What goes back."""

    body: bytes
    content_type: tuple[bytes, bytes] = JSON
    status: int = 200
    more_headers: Sequence[tuple[bytes, bytes]] = ()


class Request(NamedTuple):
    """What came in; its body is read where it is wanted."""

    scope: Scope
    receive: Receive


Handler = Callable[[Request], Awaitable[Reply]]


async def live(receive: Receive, send: Send, opened: Callable[[], Awaitable[None]], closed: Callable[[], Awaitable[None]]) -> None:
    """The lifespan of an application."""
    await receive()
    await opened()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await closed()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(send: Send, reply: Reply) -> None:
    """Send a reply as ASGI messages, its body in one piece, with `content-length` and `cache-control: no-store`."""
    headers = [reply.content_type, (LENGTH, b"%d" % len(reply.body)), NOT_KEPT, *reply.more_headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


class Operators:
    """An application of health and metrics alone, for a port of its own."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD on the routes; 404 (E404) for another path, 405 (E405) with `allow` for another method."""
        handler, request = self._routes.get(scope["path"]), Request(scope, receive)
        if handler is None:
            message = f"there is nothing here; there are {', '.join(self._routes)}"
            reply = refusal(Refused(asks.NO_SUCH_THING, "path", message, status=HTTPStatus.NOT_FOUND))
        elif scope["method"] not in ("GET", "HEAD"):
            refused, allowed = other_method(request, {"GET": handler})
            reply = refusal(refused)._replace(more_headers=[allowed])
        else:
            reply = await handler(request)
        await answer(send, reply)


def says_ready(load: Load, content: Mapping[str, Any]) -> Handler:
    """A handler of readiness: 200 with the content and `ready`, and 503 from when the process is told to stop."""
    ready = Reply(orjson.dumps({**content, "ready": True}))
    draining = Reply(orjson.dumps({**content, "ready": False}), status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def said(_request: Request) -> Reply:
        return draining if load.is_draining else ready

    return said


def says(content: Mapping[str, Any]) -> Handler:
    """A handler that always says the same."""
    reply = Reply(orjson.dumps(content))

    async def said(_request: Request) -> Reply:
        return reply

    return said


def refusal(refused: Refused, /, **more: Any) -> Reply:
    """A fault as every caller is told it, and what this one is told besides."""
    content = {"code": refused.code, "field": refused.field, "message": refused.message, **more}
    return Reply(orjson.dumps(content), status=refused.status)


def other_method(request: Request, handlers: Mapping[str, Handler]) -> tuple[Refused, tuple[bytes, bytes]]:
    """The refusal of a method that nothing answers, and the header that names those that something does."""
    message = f"{request.scope['method'][:16]} does nothing here"
    refused = Refused(asks.NO_SUCH_METHOD, "method", message, status=HTTPStatus.METHOD_NOT_ALLOWED)
    return refused, (ALLOW, ", ".join(handlers).encode())


async def body(request: Request, most_bytes: int) -> bytes:
    """The whole body; 413 as soon as it is known to be too large."""
    said = header(request, LENGTH) or ""
    if said.isdecimal() and int(said[:MOST_LENGTH_DIGITS]) > most_bytes:
        raise _too_large(most_bytes)
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Refused(asks.NOT_HTTP, "", "the connection ended before the body", status=HTTPStatus.BAD_REQUEST)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most_bytes:
            raise _too_large(most_bytes)
        more = message.get("more_body", False)
    return b"".join(parts)


def header(request: Request, name: bytes) -> str | None:
    """The first value of a request's header, as Latin-1, None where there is none; `name` in lower case, as ASGI has them."""
    return next((value.decode("latin-1") for key, value in request.scope["headers"] if key == name), None)


def _too_large(most_bytes: int) -> Refused:
    return Refused(asks.TOO_LARGE, "", f"a body has at most {most_bytes:,} bytes", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
