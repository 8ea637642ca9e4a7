"""Page of the HTTP interface: routes of predictor and collector, parameters of a request, tensors, limits of any request."""

import dataclasses
import json
from collections.abc import Iterable
from typing import get_args, get_origin, get_type_hints

from docs.generate.markdown import code, paragraph, sentence, table
from lodestar.engine.recommender import PERSONAL, Recommendation
from lodestar.schema.constraints import parts_of
from serving import kserve_v2, requests
from serving.__main__ import ARM, MODEL
from serving.app import list_json
from serving.collector import app as collector
from serving.collector import intake
from serving.feature_log import RecommendResponse
from serving.http import request_limits
from serving.routes import COLLECTOR, OPERATORS, PREDICTOR, Route

INTRODUCTION = """Routes of the predictor (`lodestar serve`) and of the collector (`lodestar collect`). HEAD is answered where GET
is. An error is JSON of `code`, `field` and `message`, and on KServe's routes also `error`; [metrics.md](metrics.md) counts answers."""
PARAMETERS = """`GET /v1/recommend` has them in its query; `instances` of `POST /v1/models/{model}:predict` are objects of them, or plain
user ids. Another name, or one name twice, is an error."""
ANSWER = """Of `GET /v1/recommend`, and of each instance in `predictions` of `POST /v1/models/{model}:predict`. `retriever` is `popular`
for the cold-start list; an item has `rating` if the bundle predicts ratings; `request_id` is the list's key in the impression log."""
TENSORS = """Inputs and outputs of `infer`. `k` may also be a parameter of the request. Outputs of items are padded to the longest list,
with `""` and 0; `rating` is given where it is asked for and the bundle predicts ratings. Binary data follow Triton's extension."""
LIMITS = """Of a request to any route. Beyond one, the server answers with the code and closes the connection, and
`lodestar_connections_refused_total` counts it by the reason."""
TYPES = {str: "text", int: "whole number"}


def page() -> str:
    """The page as Markdown."""
    return "\n".join(
        [
            f"# HTTP\n\n{paragraph(INTRODUCTION)}",
            f"## Health and metrics\n\n{_routes(OPERATORS)}",
            f"## Predictor\n\n{_routes(PREDICTOR)}",
            f"### Request parameters\n\n{paragraph(PARAMETERS)}\n{_parameters()}",
            f"### Answer\n\n{paragraph(ANSWER)}\n{_answer()}",
            f"### Tensors\n\n{paragraph(TENSORS)}\n{_tensors()}",
            f"## Collector\n\n{_routes(COLLECTOR)}\n{_collector()}",
            f"## Limits\n\n{paragraph(LIMITS)}\n{_limits()}",
        ]
    )


def _routes(routes: Iterable[Route]) -> str:
    rows = [(code(f"{route.method} {route.path}"), code(route.label), sentence(route.answer)) for route in routes]
    return table(("route", "label in metrics", "answer"), rows)


def _parameters() -> str:
    hints = get_type_hints(requests.RecommendRequest, include_extras=True)
    rows = []
    for entry in dataclasses.fields(requests.RecommendRequest):
        kind, _, meaning = parts_of(hints[entry.name])
        name = f"list of {TYPES[get_args(kind)[0]]}s" if get_origin(kind) is tuple else TYPES[kind]
        default = "required" if entry.default is dataclasses.MISSING else code(json.dumps(entry.default))
        rows.append((code(entry.name), name, default, sentence(meaning)))
    totals = f"A body has at most {requests.MAX_INSTANCES} instances, and their `k` add up to at most {requests.MAX_TOTAL_K:,}."
    return f"{table(('parameter', 'type', 'default', 'meaning'), rows)}\n{paragraph(totals)}"


def _answer() -> str:
    """A list of one item as the predictor writes it."""
    item = Recommendation(item_id="i1", title="Lamp", category="Home", score=0.75, position=1, retriever=PERSONAL, rating=4.5)
    response = RecommendResponse(request_id="0b1f…", user="u1", retriever=PERSONAL, items=[item])
    content = list_json({"name": MODEL, "digest": "5f0e…", "arm": ARM}, response)
    return f"```json\n{json.dumps(content, indent=2, ensure_ascii=False)}\n```\n"


def _tensors() -> str:
    found = [("input", tensor) for tensor in kserve_v2.INPUT_TENSORS] + [("output", tensor) for tensor in kserve_v2.OUTPUT_TENSORS]
    rows = [(side, code(tensor["name"]), str(tensor["datatype"]), json.dumps(tensor["shape"])) for side, tensor in found]
    return table(("side", "tensor", "datatype", "shape"), rows)


def _collector() -> str:
    rows = [
        (
            "body",
            "an object, an array of objects, or an object a line",
            f"at most {intake.MAX_ROWS:,} rows in {collector.MAX_BODY_BYTES:,} bytes",
        ),
        (
            code(f"?{collector.PARTIAL.decode()}"),
            "query",
            "keep valid rows although others have errors; without it one row error refuses all",
        ),
        (code("Authorization: Bearer KEY"), "header", "the key of `LODESTAR_COLLECT_KEY`, where the collector has one"),
        (code("Retry-After"), "header of the answer", f"{collector.RETRY_S} s, where rows cannot be stored now"),
    ]
    return table(("what", "where", "meaning"), [(what, where, sentence(meaning)) for what, where, meaning in rows])


def _limits() -> str:
    found = [value for value in vars(request_limits).values() if isinstance(value, request_limits.Refusal)]
    return table(("limit", "code", "reason"), [(sentence(one.message), one.code, code(one.reason)) for one in found])
