"""The predictor over HTTP: KServe's v1 and v2 protocols, `/v1/recommend`, health and metrics, as one ASGI application.

Routes are told apart here and not by a framework: that was most of a request's cost. Whatever a caller sends, the answer is never a
stack trace; faults of theirs are 404, 405, 413 or 422 with `{code, field, message}`.
"""

import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
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

MODEL_ROUTE = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/[^/]+)?(?P<rest>/ready|/infer)?|/v1/models/(?P<v1>[^/:]+)(?P<predict>:predict)?"
)
MOST_BODY_BYTES = 4 << 20
JSON, OCTETS = b"application/json", b"application/octet-stream"
SERVER, PLATFORM = "lodestar", "lodestar-onnx"

logger = logging.getLogger(__name__)


class Reply(NamedTuple):
    """What goes back; `route` is its name in the metrics."""

    route: str
    body: bytes
    status: int = HTTPStatus.OK
    content_type: bytes = JSON
    json_length: int | None = None


class Request(NamedTuple):
    """What came in; `body` reads it, at most `MOST_BODY_BYTES`."""

    method: str
    path: str
    query: bytes
    headers: Headers
    body: Callable[[], Awaitable[bytes]]


class App:
    """Serves one predictor under one model name."""

    def __init__(self, predictor: Predictor, model: str) -> None:
        self.predictor, self.model = predictor, model
        self._fixed: dict[tuple[str, str], Callable[[Request], Awaitable[Reply]]] = {
            ("GET", "/v1/recommend"): self._recommend,
            ("GET", "/metrics"): self._metrics,
            ("GET", "/"): _says({"status": "alive"}),
            ("GET", "/v1/models"): _says({"models": [model]}),
            ("GET", "/v2"): _says({"name": SERVER, "version": version(SERVER), "extensions": ["binary_tensor_data"]}),
            ("GET", "/v2/health/live"): _says({"live": True}),
            ("GET", "/v2/health/ready"): _says({"ready": True}),
            ("GET", "/v2/models"): _says({"models": [model]}),
        }
        self._paths = {path for _, path in self._fixed}
        self._of_model: dict[tuple[str, str], Callable[[Request], Awaitable[Reply]]] = {
            ("GET", "v1"): _says({"name": model, "ready": True}),
            ("POST", "v1:predict"): self._predict,
            ("GET", "v2"): _says(self._described()),
            ("GET", "v2/ready"): _says({"name": model, "ready": True}),
            ("POST", "v2/infer"): self._infer,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            reply = await self._replied(scope, receive)
            self.predictor.metrics.request(reply.route, reply.status)
            await _send(reply, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.predictor.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _replied(self, scope: Scope, receive: Receive) -> Reply:
        async def body() -> bytes:
            return await _body(receive)

        request = Request(scope["method"], scope["path"], scope["query_string"], scope["headers"], body)
        route = "none"
        try:
            route, handler = self._handler(request)
            return (await handler(request))._replace(route=route)
        except Refused as refused:
            return _refusal(route, refused)
        except Exception:  # an entry point: what is wrong here is ours, and goes to the log only
            logger.exception("a request on %s failed", route)
            fault = Refused(asks.INTERNAL, "", "the predictor failed; its log says why", status=HTTPStatus.INTERNAL_SERVER_ERROR)
            return _refusal(route, fault)

    def _handler(self, request: Request) -> tuple[str, Callable[[Request], Awaitable[Reply]]]:
        """The route's name and what answers it."""
        method = "GET" if request.method == "HEAD" else request.method
        handler = self._fixed.get((method, request.path))
        if handler is not None:
            return request.path, handler
        if request.path in self._paths:
            raise _no_method(request)
        found = MODEL_ROUTE.fullmatch(request.path)
        if found is None:
            raise Refused(asks.NO_SUCH_THING, "path", "there is nothing at this path", status=HTTPStatus.NOT_FOUND)
        name = found["model"] or found["v1"]
        if name != self.model:
            raise Refused(
                asks.NO_SUCH_THING, "model", f"there is no model of that name; there is {self.model}", status=HTTPStatus.NOT_FOUND
            )
        kind = f"v2{found['rest'] or ''}" if found["model"] else f"v1{found['predict'] or ''}"
        handler = self._of_model.get((method, kind))
        if handler is None:
            raise _no_method(request)
        return kind, handler

    async def _recommend(self, request: Request) -> Reply:
        (answer,) = await self.predictor.answer([asks.from_query(request.query)])
        return Reply("", orjson.dumps(self._shown(answer)))

    async def _predict(self, request: Request) -> Reply:
        answers = await self.predictor.answer(asks.from_body(await request.body()))
        return Reply("", orjson.dumps({"predictions": [self._shown(answer) for answer in answers]}))

    async def _infer(self, request: Request) -> Reply:
        inference = tensors.decode(await request.body(), _header(request.headers, tensors.BINARY_HEADER))
        answers = await self.predictor.answer(inference.asks)
        body, json_length = tensors.encode(inference, answers, self.model, self.predictor.digest)
        return Reply("", body, content_type=JSON if json_length is None else OCTETS, json_length=json_length)

    async def _metrics(self, _request: Request) -> Reply:
        return Reply("", self.predictor.metrics.page(), content_type=metrics.CONTENT_TYPE.encode())

    def _shown(self, answer: Answer) -> dict[str, Any]:
        return {
            "request_id": answer.request_id,
            "user": answer.user,
            "model": {"name": self.model, "digest": self.predictor.digest, "arm": self.predictor.arm},
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


def _says(content: dict[str, Any]) -> Callable[[Request], Awaitable[Reply]]:
    reply = Reply("", orjson.dumps(content))

    async def answer(_request: Request) -> Reply:
        return reply

    return answer


def _no_method(request: Request) -> Refused:
    return Refused(asks.NO_SUCH_METHOD, "method", f"{request.method[:16]} does nothing here", status=HTTPStatus.METHOD_NOT_ALLOWED)


def _refusal(route: str, refused: Refused) -> Reply:
    content = {"code": refused.code, "field": refused.field, "message": refused.message}
    return Reply(route, orjson.dumps(content), status=refused.status)


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BODY_BYTES:
            raise Refused(asks.TOO_LARGE, "", f"a body has at most {MOST_BODY_BYTES:,} bytes", status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        more = message.get("more_body", False)
    return b"".join(parts)


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in headers if key == wanted), None)


async def _send(reply: Reply, send: Send) -> None:
    headers = [(b"content-type", reply.content_type), (b"content-length", str(len(reply.body)).encode())]
    if reply.json_length is not None:
        headers.append((tensors.BINARY_HEADER.encode(), str(reply.json_length).encode()))
    await send({"type": "http.response.start", "status": int(reply.status), "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
