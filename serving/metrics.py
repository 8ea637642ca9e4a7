"""Prometheus metrics of the predictor: requests, latency, fallbacks of the online store. Never an id."""

from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
# Meaning of each label, of the collector's metrics too.
LABELS = {
    "route": "the route, as [http.md](http.md) names it; `none` for an unknown path",
    "status": "HTTP status",
    "model_name": "name of the model (`--model-name`)",
    "retriever": "`personal`, or `popular` for the cold-start list",
    "digest": "digest of the bundle",
    "arm": "arm of the canary rollout (`--arm`)",
    "reason": "a limit that [http.md](http.md#limits) lists; `connections`: too many of them; `unread`: an answer is not read",
    "code": "error code",
    "table": "table of the data contract",
    "outcome": "`accepted`, or the error code of a rejected row",
}


class Metrics:
    """The Prometheus metrics of one process; `request_predict_seconds` has the name that KServe's own servers use."""

    def __init__(self, model: str, digest: str, arm: str) -> None:
        self.registry = CollectorRegistry()
        seconds = Histogram(
            "request_predict_seconds",
            "From a validated request to its response.",
            ("model_name",),
            buckets=LATENCY_S,
            registry=self.registry,
        )
        requests = Counter("lodestar_requests", "Requests, by route and status.", ("route", "status"), registry=self.registry)
        responses = Counter("lodestar_responses", "Recommendation lists, by retriever.", ("retriever",), registry=self.registry)
        model_info = Gauge("lodestar_model_info", "1 for the bundle that is served.", ("digest", "arm"), registry=self.registry)
        model_info.labels(digest, arm).set(1)
        self._seconds = seconds.labels(model)
        # Finding a counter by its labels takes longer than counting.
        self._requests, self._responses = cache(requests.labels), cache(responses.labels)
        self.fallbacks = Counter("lodestar_feature_fallbacks", "Lists without features of the online store.", registry=self.registry)
        missing = "Lists without features, since the online store has no rows of the bundle's feature generation."
        self.generation_missing = Counter("lodestar_feature_generation_missing", missing, registry=self.registry)
        self.rerank_skipped = Counter(
            "lodestar_rerank_skipped_total", "Lists in retrieval order, since counts were not available.", registry=self.registry
        )
        self.unlogged = Counter("lodestar_lists_unlogged", "Lists that could not be written to the impression log.", registry=self.registry)
        refused = Counter("lodestar_connections_refused", "Connections refused or dropped, by reason.", ("reason",), registry=self.registry)
        self._refused = cache(refused.labels)
        faults = Counter(
            "lodestar_faults", "Requests that failed by a fault of the predictor or its bundle.", ("code",), registry=self.registry
        )
        self._faults = cache(faults.labels)
        self.dropped = Counter(
            "lodestar_impression_parts_dropped", "Parts of the impression log that were dropped.", registry=self.registry
        )

    def request(self, route: str, status: int) -> None:
        """Count a request in `lodestar_requests`; `route` names a route and is no path, so callers cannot make labels."""
        self._requests(route, int(status)).inc()

    def refused(self, reason: str) -> None:
        """Count a connection refused or dropped before a response in `lodestar_connections_refused`."""
        self._refused(reason).inc()

    def fault(self, code: str) -> None:
        """Count a request that failed by a fault of the predictor or its bundle in `lodestar_faults`, by error code."""
        self._faults(code).inc()

    def predicted(self, seconds: float) -> None:
        """Observe the seconds from a validated request to its response in `request_predict_seconds`."""
        self._seconds.observe(seconds)

    def response(self, retriever: str) -> None:
        """Count a recommendation list in `lodestar_responses`, by its retriever."""
        self._responses(retriever).inc()

    def page(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
