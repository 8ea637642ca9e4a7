"""HTTP routes of the predictor and of the collector, each once: docs/reference/http.md is made from them."""

from typing import NamedTuple

from lodestar import schema


class Route(NamedTuple):
    """A route: method, path (with `{model}` and `{version}`), its handler, its label in the metrics, and what it answers."""

    method: str
    path: str
    handler: str
    label: str
    answer: str


RECOMMEND = "/v1/recommend"
METRICS = "/metrics"

# Of both servers; with --metrics-port they have a port of their own, and METRICS that port alone.
OPERATORS = (
    Route("GET", "/", "alive", "/", "liveness: 200 while the process runs"),
    Route("GET", "/v2/health/live", "live", "/v2/health/live", "liveness, as KServe's v2 protocol has it"),
    Route("GET", "/v2/health/ready", "ready", "/v2/health/ready", "readiness: 503 once the process drains"),
    Route("GET", METRICS, "metrics", METRICS, "Prometheus metrics"),
)
PREDICTOR = (
    Route("GET", RECOMMEND, "recommend", RECOMMEND, "a recommendation list of one user; logged as an impression, so that HEAD is refused"),
    Route("GET", "/v1/models", "models", "/v1/models", "names of the models"),
    Route("GET", "/v1/models/{model}", "model_ready", "v1", "readiness of the model (v1)"),
    Route("POST", "/v1/models/{model}:predict", "predict", "v1:predict", "a recommendation list for each of `instances` (v1)"),
    Route("GET", "/v2", "server", "/v2", "name, version and extensions of the server (v2)"),
    Route("GET", "/v2/models", "models", "/v2/models", "names of the models"),
    *(
        route
        for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        for route in (
            Route("GET", base, "model_metadata", "v2", "versions, input and output tensors of the model (v2)"),
            Route("GET", f"{base}/ready", "model_ready", "v2/ready", "readiness of the model (v2)"),
            Route("POST", f"{base}/infer", "infer", "v2/infer", "recommendation lists as tensors, JSON or binary (v2)"),
        )
    ),
)
COLLECTOR = tuple(
    Route("POST", f"/v1/{table.name}", table.name, f"/v1/{table.name}", f"rows of the table {table.name}; 202 once they are durable")
    for table in (schema.EVENTS, schema.IMPRESSIONS)
)
