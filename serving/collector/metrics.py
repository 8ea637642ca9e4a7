"""Prometheus metrics of the collector: rows accepted and rejected by code, requests, parts, write latency. Never an id."""

from collections.abc import Iterable, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.collector.row_error import Rejection

WRITE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
ACCEPTED = "accepted"


class Metrics:
    """The Prometheus metrics of one collector process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        requests = Counter("lodestar_collect_requests", "Requests, by route and status.", ("route", "status"), registry=self.registry)
        rows = Counter("lodestar_collect_rows", "Rows, by outcome.", ("table", "outcome"), registry=self.registry)
        cells = Counter(
            "lodestar_collect_cells_nulled", "Cells of accepted rows that could not be read.", ("table", "code"), registry=self.registry
        )
        parts = Counter("lodestar_collect_parts", "Parts published to the landing.", ("table",), registry=self.registry)
        connections = Counter(
            "lodestar_connections_refused", "Connections refused or dropped, by reason.", ("reason",), registry=self.registry
        )
        self._cells = cache(cells.labels)
        self._dropped = cache(connections.labels)
        self._requests, self._rows, self._parts = cache(requests.labels), cache(rows.labels), cache(parts.labels)
        self.write_s = Histogram(
            "lodestar_collect_write_seconds", "From validated rows to durable ones.", buckets=WRITE_S, registry=self.registry
        )
        self.waiting = Gauge("lodestar_collect_waiting_bytes", "Bytes of closed parts that are not yet published.", registry=self.registry)

    def request(self, route: str, status: int) -> None:
        """Count a request in `lodestar_collect_requests`; `route` is a known path or `none`, so callers cannot make labels."""
        self._requests(route, int(status)).inc()

    def dropped(self, reason: str) -> None:
        """Count a connection refused or dropped before a response in `lodestar_connections_refused`."""
        self._dropped(reason).inc()

    def kept(self, table: str, num_rows: int) -> None:
        """Count durable rows in `lodestar_collect_rows` as `accepted`."""
        self._rows(table, ACCEPTED).inc(num_rows)

    def refused(self, table: str, rejections: Iterable[Rejection]) -> None:
        """Count each rejected row in `lodestar_collect_rows` under its error code."""
        for rejection in rejections:
            self._rows(table, rejection.code).inc()

    def nulled(self, table: str, cells: Mapping[tuple[str, str], int]) -> None:
        """Count cells that were left out, given by field and code, in `lodestar_collect_cells_nulled` under their code."""
        for (_, code), count in cells.items():
            self._cells(table, code).inc(count)

    def published(self, table: str) -> None:
        """Count a published part in `lodestar_collect_parts`."""
        self._parts(table).inc()

    def page(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
