"""What operators see: how many requests, how long they took, and how often an answer had to do without a history. Never an id."""

from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """The metrics of one process; `request_predict_seconds` is called as KServe's own servers call it."""

    def __init__(self, model: str, digest: str, arm: str) -> None:
        self._registry = CollectorRegistry()
        seconds = Histogram(
            "request_predict_seconds", "From a checked request to its answer.", ("model_name",), buckets=LATENCY_S, registry=self._registry
        )
        requests = Counter("lodestar_requests", "Requests, by route and status.", ("route", "status"), registry=self._registry)
        answers = Counter("lodestar_answers", "Lists, by what put them together.", ("retriever",), registry=self._registry)
        model_info = Gauge("lodestar_model_info", "1 for the bundle that answers.", ("digest", "arm"), registry=self._registry)
        model_info.labels(digest, arm).set(1)
        self._seconds = seconds.labels(model)
        # Finding a counter by its labels takes longer than counting.
        self._requests, self._answers = cache(requests.labels), cache(answers.labels)
        self.fallbacks = Counter("lodestar_feature_fallbacks", "Lists made without the online store.", registry=self._registry)
        missing = "Lists made without the online store, which has no rows of the bundle's feature generation."
        self.generation_missing = Counter("lodestar_feature_generation_missing", missing, registry=self._registry)
        self.unranked = Counter("lodestar_lists_unranked", "Lists in retrieval's order for want of counts.", registry=self._registry)
        self.unlogged = Counter("lodestar_lists_unlogged", "Lists that the impression log could not take.", registry=self._registry)
        refused = Counter("lodestar_connections_refused", "Callers refused or dropped, by why.", ("reason",), registry=self._registry)
        self._refused = cache(refused.labels)
        faults = Counter(
            "lodestar_faults", "Requests that failed by a fault of the predictor or its bundle.", ("code",), registry=self._registry
        )
        self._faults = cache(faults.labels)
        self.dropped = Counter("lodestar_impression_parts_dropped", "Parts of the impression log given up.", registry=self._registry)

    def request(self, route: str, status: int) -> None:
        """Count a request in `lodestar_requests`; `route` names a route and is no path, so callers cannot make labels."""
        self._requests(route, int(status)).inc()

    def refused(self, reason: str) -> None:
        """Count a caller refused or dropped before an answer in `lodestar_connections_refused`."""
        self._refused(reason).inc()

    def fault(self, code: str) -> None:
        """Count a request that failed by a fault of ours in `lodestar_faults`, under the error's code."""
        self._faults(code).inc()

    def predicted(self, seconds: float) -> None:
        """Observe the seconds from a checked request to its answer in `request_predict_seconds`."""
        self._seconds.observe(seconds)

    def answer(self, retriever: str) -> None:
        """Count a list in `lodestar_answers`, under the retriever that made it."""
        self._answers(retriever).inc()

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
