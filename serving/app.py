"""The predictor over HTTP: KServe's v1 and v2 protocols, `/v1/recommend`, health and metrics, as one ASGI application.

Routes are told apart here and not by a framework: that was most of a request's cost. Whatever a caller sends, the answer is never a
stack trace; faults of theirs are 404, 405, 413, 422 or 429 with `{code, field, message}`, and `error` where KServe's clients look for it.
"""

import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, NamedTuple

import orjson

from serving import asks, metrics, tensors
from serving.asks import Refused
from serving.predictor import Answer, Predictor

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

RECOMMEND = "/v1/recommend"
MOST_BODY_BYTES, MOST_LENGTH_DIGITS = 4 << 20, 20
MOST_AT_ONCE = 256  # requests that wait for an answer; probes and metrics are answered whatever else waits
LENGTH, ALLOW = b"content-length", b"allow"
JSON, OCTETS = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
# Answers are one person's, and are not to be kept on the way.
NOT_KEPT = (b"cache-control", b"no-store")
SERVER, PLATFORM = "lodestar", "lodestar-onnx"
KSERVE_PATHS = ("/v1/models", "/v2")

logger = logging.getLogger(__name__)


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


class App:
    """Serves one predictor under one model name."""

    def __init__(self, predictor: Predictor, model: str) -> None:
        self.predictor, self.model = predictor, model
        self._at_once = 0
        self._shown_model = {"name": model, "digest": predictor.digest, "arm": predictor.arm}
        # By path: what the metrics call it, and what answers each method.
        self._routes: dict[str, tuple[str, dict[str, Handler]]] = {
            "/": ("/", {"GET": _says({"status": "alive"})}),
            "/metrics": ("/metrics", {"GET": self._metrics}),
            RECOMMEND: (RECOMMEND, {"GET": self._in_turn(self._recommend)}),
            "/v1/models": ("/v1/models", {"GET": _says({"models": [model]})}),
            f"/v1/models/{model}": ("v1", {"GET": _says({"name": model, "ready": True})}),
            f"/v1/models/{model}:predict": ("v1:predict", {"POST": self._in_turn(self._predict)}),
            "/v2": ("/v2", {"GET": _says({"name": SERVER, "version": version(SERVER), "extensions": ["binary_tensor_data"]})}),
            "/v2/health/live": ("/v2/health/live", {"GET": _says({"live": True})}),
            "/v2/health/ready": ("/v2/health/ready", {"GET": _says({"ready": True})}),
            "/v2/models": ("/v2/models", {"GET": _says({"models": [model]})}),
        }
        for base in (f"/v2/models/{model}", f"/v2/models/{model}/versions/{predictor.digest}"):
            self._routes[base] = ("v2", {"GET": _says(self._described())})
            self._routes[f"{base}/ready"] = ("v2/ready", {"GET": _says({"name": model, "ready": True})})
            self._routes[f"{base}/infer"] = ("v2/infer", {"POST": self._in_turn(self._infer)})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            route, handlers = self._routes.get(scope["path"], ("none", None))
            reply = await self._replied(route, handlers, Request(scope, receive))
            self.predictor.metrics.request(route, reply.status)
            headers = [reply.content_type, (LENGTH, b"%d" % len(reply.body)), NOT_KEPT, *reply.more_headers]
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            await send({"type": "http.response.body", "body": reply.body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.predictor.open()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.predictor.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _replied(self, route: str, handlers: dict[str, Handler] | None, request: Request) -> Reply:
        try:
            if handlers is None:
                return _refusal(self._nothing_there(), request)
            handler = handlers.get(request.scope["method"])
            return await (_other_method(request, handlers) if handler is None else handler(request))
        except Refused as refused:
            return _refusal(refused, request)
        except Exception:  # an entry point: what is wrong here is ours, and goes to the log only
            logger.exception("a request on %s failed", route)
            message = "the predictor failed; its log says why"
            return _refusal(Refused(asks.INTERNAL, "", message, status=HTTPStatus.INTERNAL_SERVER_ERROR), request)

    async def _recommend(self, request: Request) -> Reply:
        (answer,) = await self.predictor.answer([asks.from_query(request.scope["query_string"])])
        return Reply(orjson.dumps(self._shown(answer)))

    async def _predict(self, request: Request) -> Reply:
        answers = await self.predictor.answer(asks.from_body(await _body(request)))
        return Reply(orjson.dumps({"predictions": [self._shown(answer) for answer in answers]}))

    async def _infer(self, request: Request) -> Reply:
        length = _header(request, tensors.BINARY_HEADER.encode())
        inference = tensors.decode(await _body(request), length)
        answers = await self.predictor.answer(inference.asks)
        body, json_length = tensors.encode(inference, answers, self.model, self.predictor.digest)
        if json_length is None:
            return Reply(body)
        return Reply(body, OCTETS, more_headers=[(tensors.BINARY_HEADER.encode(), b"%d" % json_length)])

    async def _metrics(self, _request: Request) -> Reply:
        return Reply(self.predictor.metrics.page(), (b"content-type", metrics.CONTENT_TYPE.encode()))

    def _in_turn(self, handler: Handler) -> Handler:
        """The handler, as long as not too many requests wait already."""

        async def answer(request: Request) -> Reply:
            if self._at_once >= MOST_AT_ONCE:
                raise Refused(asks.TOO_MANY, "", "too many requests wait; ask again in a moment", status=HTTPStatus.TOO_MANY_REQUESTS)
            self._at_once += 1
            try:
                return await handler(request)
            finally:
                self._at_once -= 1

        return answer

    def _nothing_there(self) -> Refused:
        message = f"there is nothing here; the model is {self.model}, version {self.predictor.digest}"
        return Refused(asks.NO_SUCH_THING, "path", message, status=HTTPStatus.NOT_FOUND)

    def _shown(self, answer: Answer) -> dict[str, Any]:
        return {
            "request_id": answer.request_id,
            "user": answer.user,
            "model": self._shown_model,
            "retriever": answer.retriever,
            "items": [
                {
                    "position": place.position,
                    "item_id": place.item_id,
                    "title": place.title,
                    "category": place.category,
                    "score": place.score,
                }
                for place in answer.places
            ],
        }

    def _described(self) -> dict[str, Any]:
        return {
            "name": self.model,
            "versions": [self.predictor.digest],
            "platform": PLATFORM,
            "inputs": tensors.INPUT_TENSORS,
            "outputs": tensors.OUTPUT_TENSORS,
        }


def _says(content: dict[str, Any]) -> Handler:
    reply = Reply(orjson.dumps(content))

    async def answer(_request: Request) -> Reply:
        return reply

    return answer


async def _other_method(request: Request, handlers: dict[str, Handler]) -> Reply:
    """HEAD is GET without the body; but of a list, it would be logged that a person saw it."""
    method = request.scope["method"]
    if method == "HEAD" and "GET" in handlers and request.scope["path"] != RECOMMEND:
        return await handlers["GET"](request)
    refused = Refused(asks.NO_SUCH_METHOD, "method", f"{method[:16]} does nothing here", status=HTTPStatus.METHOD_NOT_ALLOWED)
    return _refusal(refused, request)._replace(more_headers=[(ALLOW, ", ".join(handlers).encode())])


def _refusal(refused: Refused, request: Request) -> Reply:
    content = {"code": refused.code, "field": refused.field, "message": refused.message}
    if request.scope["path"].startswith(KSERVE_PATHS):
        content["error"] = f"{refused.code} {refused.message}"
    return Reply(orjson.dumps(content), status=refused.status)


async def _body(request: Request) -> bytes:
    """The whole body; 413 as soon as it is known to be too large."""
    said = _header(request, LENGTH) or ""
    if said.isdecimal() and int(said[:MOST_LENGTH_DIGITS]) > MOST_BODY_BYTES:
        raise _too_large()
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Refused(asks.NOT_HTTP, "", "the connection ended before the body", status=HTTPStatus.BAD_REQUEST)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    return b"".join(parts)


def _too_large() -> Refused:
    message = f"a body has at most {MOST_BODY_BYTES:,} bytes"
    return Refused(asks.TOO_LARGE, "", message, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


def _header(request: Request, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in request.scope["headers"] if key == name), None)
