"""HTTP API of the predictor, an ASGI application: KServe's v1 and v2 protocols, `/v1/recommend`, health and metrics.

Routing is done here and not by a framework, which was most of a request's cost. A response is never a stack trace; client errors are 404,
405, 413, 414, 422 or 429 with `{code, field, message}`, and `error` on KServe's paths, where its clients expect it.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import orjson

from lodestar import DISTRIBUTION, schema
from lodestar.engine.recommender import Recommendation
from lodestar.error_codes import CODES
from lodestar.errors import DataError
from serving import kserve_v2, metrics, requests
from serving.feature_log import RecommendResponse
from serving.http import asgi
from serving.http.asgi import (
    OCTETS,
    Handler,
    Operators,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    constant_json,
    health_handlers,
    public_operators,
    readiness_json,
)
from serving.http.connection_limits import Load
from serving.predictor import Predictor
from serving.request_queue import RequestQueue
from serving.requests import InvalidRequest, RecommendRequest
from serving.routes import OPERATORS, PREDICTOR, RECOMMEND

MAX_BODY_BYTES = 1 << 20
SERVER, PLATFORM = "lodestar", "lodestar-onnx"
KSERVE_PATHS = ("/v1/models", "/v2")

logger = logging.getLogger(__name__)


class QueryBatch(NamedTuple):
    """The queries of a v1 request."""

    queries: Sequence[RecommendRequest]


class App:
    """The predictor's ASGI application, under one model name."""

    def __init__(self, predictor: Predictor, model: str, load: Load) -> None:
        self.predictor, self.model = predictor, model
        self._queue = RequestQueue(predictor)
        self._model_json = {"name": model, "digest": predictor.digest, "arm": predictor.arm}
        operators: dict[str, Handler] = {**health_handlers(load), "metrics": self._metrics}
        self.operators = Operators({route.path: operators[route.handler] for route in OPERATORS})
        handlers: dict[str, Handler] = {
            **operators,
            "recommend": self._recommend,
            "models": constant_json({"models": [model]}),
            "model_ready": readiness_json(load, {"name": model}),
            "predict": self._predict,
            "server": constant_json({"name": SERVER, "version": version(DISTRIBUTION), "extensions": ["binary_tensor_data"]}),
            "model_metadata": constant_json(self._model_metadata()),
            "infer": self._infer,
        }
        # By path: the route's label in the metrics, and a handler for its method.
        self._routes: dict[str, tuple[str, dict[str, Handler]]] = {
            route.path.format(model=model, version=predictor.digest): (route.label, {route.method: handlers[route.handler]})
            for route in (*public_operators(load), *PREDICTOR)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point: the lifespan opens and closes the predictor; an HTTP request is answered, and counted by route and status.

        Unknown paths are 404 (E404), other methods 405 (E405), own faults 500 (E500 or the bundle's code), logged with
        their stack trace.
        """
        if scope["type"] == "lifespan":
            await asgi.lifespan(receive, send, self.predictor.open, self.predictor.close)
        elif scope["type"] == "http":
            route, handlers = self._routes.get(scope["path"], ("none", None))
            reply = await self._reply(route, handlers, Request(scope, receive))
            self.predictor.metrics.request(route, reply.status)
            await asgi.send_reply(send, reply)

    async def _reply(self, route: str, handlers: dict[str, Handler] | None, request: Request) -> Reply:
        try:
            if handlers is None:
                return _refusal(self._not_found(), request)
            handler = handlers.get(request.scope["method"])
            return await (_other_method(request, handlers) if handler is None else handler(request))
        except InvalidRequest as refused:
            return _refusal(refused, request)
        except Exception as error:  # an entry point: a fault of the predictor goes to the log only
            logger.exception("a request on %s failed", route)
            message = "the predictor failed; its log says why"
            code = error.code if isinstance(error, DataError) and CODES[error.code].http_status else requests.INTERNAL
            self.predictor.metrics.fault(code)
            return _refusal(InvalidRequest(code, "", message), request)

    async def _recommend(self, request: Request) -> Reply:
        return await self._queue.reply(request, request.scope["query_string"], _single_query, self._recommend_json)

    async def _predict(self, request: Request) -> Reply:
        return await self._queue.reply(request, await asgi.body(request, MAX_BODY_BYTES), _instances, self._predictions_json)

    async def _infer(self, request: Request) -> Reply:
        decode = partial(kserve_v2.decode, header_length=asgi.header(request, kserve_v2.BINARY_HEADER.encode()))
        return await self._queue.reply(request, await asgi.body(request, MAX_BODY_BYTES), decode, self._outputs)

    def _recommend_json(self, _batch: QueryBatch, responses: list[RecommendResponse]) -> Reply:
        return Reply(orjson.dumps(list_json(self._model_json, responses[0])))

    def _predictions_json(self, _batch: QueryBatch, responses: list[RecommendResponse]) -> Reply:
        return Reply(orjson.dumps({"predictions": [list_json(self._model_json, response) for response in responses]}))

    def _outputs(self, inference: kserve_v2.Inference, responses: list[RecommendResponse]) -> Reply:
        body, json_length = kserve_v2.encode(inference, responses, self.model, self.predictor.digest)
        if json_length is None:
            return Reply(body)
        return Reply(body, OCTETS, more_headers=[(kserve_v2.BINARY_HEADER.encode(), b"%d" % json_length)])

    async def _metrics(self, _request: Request) -> Reply:
        return Reply(self.predictor.metrics.page(), (b"content-type", metrics.CONTENT_TYPE.encode()))

    def _not_found(self) -> InvalidRequest:
        message = f"there is nothing here; the model is {self.model}, version {self.predictor.digest}"
        return InvalidRequest(requests.NO_SUCH_THING, "path", message)

    def _model_metadata(self) -> dict[str, Any]:
        return {
            "name": self.model,
            "versions": [self.predictor.digest],
            "platform": PLATFORM,
            "inputs": kserve_v2.INPUT_TENSORS,
            "outputs": kserve_v2.OUTPUT_TENSORS,
        }


def list_json(model: Mapping[str, str], response: RecommendResponse) -> dict[str, Any]:
    """JSON of a recommendation list; `model` is the name, digest and arm of the model that made it."""
    return {
        "request_id": response.request_id,
        "user": response.user,
        "model": model,
        "retriever": response.retriever,
        "items": [_item_json(item) for item in response.items],
    }


def _single_query(query: bytes) -> QueryBatch:
    return QueryBatch([requests.from_query(query)])


def _instances(body: bytes) -> QueryBatch:
    return QueryBatch(requests.from_body(body))


def _item_json(item: Recommendation) -> dict[str, Any]:
    """JSON of one recommended item; includes the predicted rating if the bundle has a rating model."""
    fields = {
        "position": item.position,
        "item_id": item.item_id,
        "title": item.title,
        "category": item.category,
        "score": item.score,
    }
    return fields if item.rating is None else fields | {schema.RATING: item.rating}


async def _other_method(request: Request, handlers: dict[str, Handler]) -> Reply:
    """HEAD is GET without the body, except for a recommendation list, since it would be logged as an impression."""
    method = request.scope["method"]
    if method == "HEAD" and "GET" in handlers and request.scope["path"] != RECOMMEND:
        return await handlers["GET"](request)
    refused, allowed = asgi.other_method(request, handlers)
    return _refusal(refused, request)._replace(more_headers=[allowed])


def _refusal(refused: InvalidRequest, request: Request) -> Reply:
    if request.scope["path"].startswith(KSERVE_PATHS):
        return asgi.refusal(refused, error=f"{refused.code} {refused.message}")
    return asgi.refusal(refused)
