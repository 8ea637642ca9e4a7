"""Page of the Prometheus metrics of the predictor and of the collector, from the registries that they fill."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics import MetricWrapperBase

from docs.generate.markdown import code, paragraph, sentence, table
from serving import metrics
from serving.collector import metrics as collector_metrics

INTRODUCTION = """Metrics of `lodestar serve` and `lodestar collect`, at `/metrics`: on the port for requests, or alone on `--metrics-port`.
None has an id of a user or an item. A counter's name ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`."""


def page() -> str:
    """The page as Markdown."""
    meanings = [(code(name), sentence(meaning)) for name, meaning in metrics.LABELS.items()]
    return "\n".join(
        [
            f"# Metrics\n\n{paragraph(INTRODUCTION)}",
            *(_section(title, registry) for title, registry in _registries().items()),
            f"## Labels\n\n{table(('label', 'value'), meanings)}",
        ]
    )


def labels() -> set[str]:
    """Names of all labels of all metrics."""
    return {label for registry in _registries().values() for metric in _metrics(registry) for label in metric._labelnames}


def _registries() -> dict[str, CollectorRegistry]:
    return {"Predictor": metrics.Metrics("", "", "").registry, "Collector": collector_metrics.Metrics().registry}


def _section(title: str, registry: CollectorRegistry) -> str:
    rows = [
        (code(_name(metric)), str(metric._type), code(*metric._labelnames) if metric._labelnames else "", _meaning(metric))
        for metric in _metrics(registry)
    ]
    return f"## {title}\n\n{table(('metric', 'type', 'labels', 'meaning'), rows)}"


def _metrics(registry: CollectorRegistry) -> Iterable[MetricWrapperBase]:
    """A registry's metrics in the order of their declaration; prometheus_client has no public way to their labels."""
    return [found for found in registry._collector_to_names if isinstance(found, MetricWrapperBase)]


def _name(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def _meaning(metric: MetricWrapperBase) -> str:
    if not isinstance(metric, Histogram):
        return sentence(metric._documentation)
    bounds = ", ".join(f"{bound:g}" for bound in metric._upper_bounds[:-1])
    return f"{sentence(metric._documentation)} Buckets in seconds: {bounds}."
