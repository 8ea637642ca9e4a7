"""What operators see of the collectors: how many rows were taken and refused, why, and how long they wait. Never an id."""

from collections.abc import Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.collect.judge import Fault

WRITE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
ACCEPTED = "accepted"


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter("lodestar_collect_requests", "Requests, by route and status.", ("route", "status"), registry=self.registry)
        rows = Counter("lodestar_collect_rows", "Rows, by what became of them.", ("table", "outcome"), registry=self.registry)
        parts = Counter("lodestar_collect_parts", "Parts that are in the landing.", ("table",), registry=self.registry)
        gone = Counter("lodestar_connections_refused", "Callers refused or dropped, by why.", ("reason",), registry=self.registry)
        self._dropped = cache(gone.labels)
        self._requests, self._rows, self._parts = cache(requests.labels), cache(rows.labels), cache(parts.labels)
        self.write_s = Histogram(
            "lodestar_collect_write_seconds", "From judged rows to durable ones.", buckets=WRITE_S, registry=self.registry
        )
        self.waiting = Gauge("lodestar_collect_waiting_bytes", "Closed parts that the landing has not taken.", registry=self.registry)

    def request(self, route: str, status: int) -> None:
        """Count a request in `lodestar_collect_requests`; `route` is a known path or `none`, so callers cannot make labels."""
        self._requests(route, int(status)).inc()

    def dropped(self, reason: str) -> None:
        """Count a caller refused or dropped before an answer in `lodestar_connections_refused`."""
        self._dropped(reason).inc()

    def kept(self, table: str, num_rows: int) -> None:
        """Count durable rows in `lodestar_collect_rows` as `accepted`."""
        self._rows(table, ACCEPTED).inc(num_rows)

    def refused(self, table: str, faults: Iterable[Fault]) -> None:
        """Count each refused row in `lodestar_collect_rows` under the code of its fault."""
        for fault in faults:
            self._rows(table, fault.code).inc()

    def published(self, table: str) -> None:
        """Count a part that the landing has in `lodestar_collect_parts`."""
        self._parts(table).inc()

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
