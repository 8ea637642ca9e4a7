"""The predictor over HTTP: KServe's v1 and v2 protocols, `/v1/recommend`, health and metrics, as one ASGI application.

Routes are told apart here and not by a framework: that was most of a request's cost. Whatever a caller sends, the answer is never a
stack trace; faults of theirs are 404, 405, 413, 422 or 429 with `{code, field, message}`, and `error` where KServe's clients look for it.
"""

import logging
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, NamedTuple

import orjson

from lodestar import DISTRIBUTION, schema
from lodestar.engine.recommender import Recommendation
from lodestar.errors import DataError
from serving import asgi, asks, metrics, tensors
from serving.asgi import METRICS, OCTETS, Handler, Operators, Receive, Reply, Request, Scope, Send, says, says_ready
from serving.asks import Ask, Refused
from serving.limits import Load
from serving.predictor import Predictor
from serving.served import Answer
from serving.turns import Turns

RECOMMEND = "/v1/recommend"
MOST_BODY_BYTES = 1 << 20
SERVER, PLATFORM = "lodestar", "lodestar-onnx"
KSERVE_PATHS = ("/v1/models", "/v2")

logger = logging.getLogger(__name__)


class Asks(NamedTuple):
    """What a request holds that has nothing else."""

    asks: Sequence[Ask]


class App:
    """Serves one predictor under one model name."""

    def __init__(self, predictor: Predictor, model: str, load: Load) -> None:
        self.predictor, self.model = predictor, model
        self._turns = Turns(predictor)
        self._shown_model = {"name": model, "digest": predictor.digest, "arm": predictor.arm}
        # By path: what the metrics call it, and what answers each method.
        health = {
            "/": says({"status": "alive"}),
            "/v2/health/live": says({"live": True}),
            "/v2/health/ready": says_ready(load, {}),
        }
        self.operators = Operators({**health, METRICS: self._metrics})
        public = health if load.has_operators else {**health, METRICS: self._metrics}
        self._routes: dict[str, tuple[str, dict[str, Handler]]] = {
            **{path: (path, {"GET": handler}) for path, handler in public.items()},
            RECOMMEND: (RECOMMEND, {"GET": self._recommend}),
            "/v1/models": ("/v1/models", {"GET": says({"models": [model]})}),
            f"/v1/models/{model}": ("v1", {"GET": says_ready(load, {"name": model})}),
            f"/v1/models/{model}:predict": ("v1:predict", {"POST": self._predict}),
            "/v2": ("/v2", {"GET": says({"name": SERVER, "version": version(DISTRIBUTION), "extensions": ["binary_tensor_data"]})}),
            "/v2/models": ("/v2/models", {"GET": says({"models": [model]})}),
        }
        for base in (f"/v2/models/{model}", f"/v2/models/{model}/versions/{predictor.digest}"):
            self._routes[base] = ("v2", {"GET": says(self._described())})
            self._routes[f"{base}/ready"] = ("v2/ready", {"GET": says_ready(load, {"name": model})})
            self._routes[f"{base}/infer"] = ("v2/infer", {"POST": self._infer})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: lifespan opens and closes the predictor; an HTTP request is answered, and counted by route and status.

        No exception leaves it for a request: unknown paths are 404 (E404), other methods 405 (E405), faults of ours 500 (E500 or a bundle's
        code), logged with their stack trace.
        """
        if scope["type"] == "lifespan":
            await asgi.live(receive, send, self.predictor.open, self.predictor.close)
        elif scope["type"] == "http":
            route, handlers = self._routes.get(scope["path"], ("none", None))
            reply = await self._replied(route, handlers, Request(scope, receive))
            self.predictor.metrics.request(route, reply.status)
            await asgi.answer(send, reply)

    async def _replied(self, route: str, handlers: dict[str, Handler] | None, request: Request) -> Reply:
        try:
            if handlers is None:
                return _refusal(self._nothing_there(), request)
            handler = handlers.get(request.scope["method"])
            return await (_other_method(request, handlers) if handler is None else handler(request))
        except Refused as refused:
            return _refusal(refused, request)
        except Exception as error:  # an entry point: what is wrong here is ours, and goes to the log only
            logger.exception("a request on %s failed", route)
            message = "the predictor failed; its log says why"
            code = error.code if isinstance(error, DataError) else asks.INTERNAL
            self.predictor.metrics.fault(code)
            return _refusal(Refused(code, "", message, status=HTTPStatus.INTERNAL_SERVER_ERROR), request)

    async def _recommend(self, request: Request) -> Reply:
        return await self._turns.reply(request, request.scope["query_string"], _one_ask, self._one_list)

    async def _predict(self, request: Request) -> Reply:
        return await self._turns.reply(request, await asgi.body(request, MOST_BODY_BYTES), _instances, self._predictions)

    async def _infer(self, request: Request) -> Reply:
        decode = partial(tensors.decode, header_length=asgi.header(request, tensors.BINARY_HEADER.encode()))
        return await self._turns.reply(request, await asgi.body(request, MOST_BODY_BYTES), decode, self._outputs)

    def _one_list(self, _asked: Asks, answers: list[Answer]) -> Reply:
        return Reply(orjson.dumps(self._shown(answers[0])))

    def _predictions(self, _asked: Asks, answers: list[Answer]) -> Reply:
        return Reply(orjson.dumps({"predictions": [self._shown(answer) for answer in answers]}))

    def _outputs(self, inference: tensors.Inference, answers: list[Answer]) -> Reply:
        body, json_length = tensors.encode(inference, answers, self.model, self.predictor.digest)
        if json_length is None:
            return Reply(body)
        return Reply(body, OCTETS, more_headers=[(tensors.BINARY_HEADER.encode(), b"%d" % json_length)])

    async def _metrics(self, _request: Request) -> Reply:
        return Reply(self.predictor.metrics.page(), (b"content-type", metrics.CONTENT_TYPE.encode()))

    def _nothing_there(self) -> Refused:
        message = f"there is nothing here; the model is {self.model}, version {self.predictor.digest}"
        return Refused(asks.NO_SUCH_THING, "path", message, status=HTTPStatus.NOT_FOUND)

    def _shown(self, answer: Answer) -> dict[str, Any]:
        return {
            "request_id": answer.request_id,
            "user": answer.user,
            "model": self._shown_model,
            "retriever": answer.retriever,
            "items": [_told(place) for place in answer.places],
        }

    def _described(self) -> dict[str, Any]:
        return {
            "name": self.model,
            "versions": [self.predictor.digest],
            "platform": PLATFORM,
            "inputs": tensors.INPUT_TENSORS,
            "outputs": tensors.OUTPUT_TENSORS,
        }


def _one_ask(query: bytes) -> Asks:
    return Asks([asks.from_query(query)])


def _instances(body: bytes) -> Asks:
    return Asks(asks.from_body(body))


def _told(place: Recommendation) -> dict[str, Any]:
    """What a list says of a place; of ratings where the bundle foretells them."""
    told = {
        "position": place.position,
        "item_id": place.item_id,
        "title": place.title,
        "category": place.category,
        "score": place.score,
    }
    return told if place.rating is None else told | {schema.RATING: place.rating}


async def _other_method(request: Request, handlers: dict[str, Handler]) -> Reply:
    """HEAD is GET without the body; but of a list, it would be logged that a person saw it."""
    method = request.scope["method"]
    if method == "HEAD" and "GET" in handlers and request.scope["path"] != RECOMMEND:
        return await handlers["GET"](request)
    refused, allowed = asgi.other_method(request, handlers)
    return _refusal(refused, request)._replace(more_headers=[allowed])


def _refusal(refused: Refused, request: Request) -> Reply:
    if request.scope["path"].startswith(KSERVE_PATHS):
        return asgi.refusal(refused, error=f"{refused.code} {refused.message}")
    return asgi.refusal(refused)
