"""Evaluation report (report.html): metrics, slices, training curves and examples in one self-contained HTML file."""

from typing import Any

import numpy as np
from markupsafe import Markup

from lodestar.evaluation.evaluator import INTERACTIONS
from lodestar.evaluation.gate import PRIMARY_METRIC
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.metric_titles import MODEL, title
from lodestar.evaluation.report.plots import Axis, Line, bar, lines
from lodestar.evaluation.report.report_data import ReportData
from lodestar.evaluation.report.template import rendered
from lodestar.evaluation.results import HEADLINE_METRICS, Evaluation
from lodestar.metrics.ndcg import CUTOFF

TEMPLATE = "report.html"
MODEL_STYLE, BASELINE_STYLE, OTHER_STYLE, INTERACTIONS_STYLE = "model", "baseline", "other", "interactions"
STAGE_STYLES = {"search": MODEL_STYLE, "refit": BASELINE_STYLE}


def page(evaluation: Evaluation, data: ReportData) -> str:
    """HTML of the evaluation report; every text of the data is escaped, the same input gives the same bytes."""
    return rendered(
        TEMPLATE,
        evaluation=evaluation,
        lead=evaluation.differences[PRIMARY_METRIC],
        metric_bars=[(name, _metric_bars(evaluation, name)) for name in reversed(HEADLINE_METRICS)],
        slice_bars=_slice_bars(evaluation),
        learning=_training_curves(data.epochs),
        tail=_tail(data),
        examples=data.examples,
        rating_bars=_rating_bars(evaluation),
        cutoff=CUTOFF,
    )


def _metric_bars(evaluation: Evaluation, name: str) -> list[dict[str, Any]]:
    """Bars of one metric, a row per model; model and best baseline are highlighted."""
    found = {model: figures.metrics[name] for model, figures in evaluation.models.items()}
    most = _most(list(found.values()))
    styles = {MODEL: MODEL_STYLE, evaluation.best_baseline: BASELINE_STYLE}
    return [
        {"model": model, "interval": interval, "bar": bar(interval, most, styles.get(model, OTHER_STYLE))}
        for model, interval in found.items()
    ]


def _rating_bars(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Bars of RMSE by model; lower is better."""
    errors = evaluation.rating_errors
    most = _most(list(errors.values())) if errors else 0.0
    styles = {name: MODEL_STYLE if name == MODEL else OTHER_STYLE for name in errors}
    return [{"model": name, "interval": error, "bar": bar(error, most, styles[name])} for name, error in errors.items()]


def _slice_bars(evaluation: Evaluation) -> list[tuple[str, list[dict[str, Any]]]]:
    """Bars of the slices by grouping; all share one scale."""
    most = _most([side[PRIMARY_METRIC] for found in evaluation.slices for side in (found.model, found.baseline)])
    groups: dict[str, list[dict[str, Any]]] = {}
    for found in evaluation.slices:
        mine, theirs = found.model[PRIMARY_METRIC], found.baseline[PRIMARY_METRIC]
        row = {"slice": found, "model": mine, "baseline": theirs, "lead": found.lead[PRIMARY_METRIC]}
        drawn = {"model_bar": bar(mine, most, MODEL_STYLE), "baseline_bar": bar(theirs, most, BASELINE_STYLE)}
        groups.setdefault(found.by, []).append(row | drawn)
    return list(groups.items())


def _training_curves(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """Charts of training loss and validation NDCG@10 by epoch, with their stages (search, refit)."""
    losses = _by_stage(epochs, "loss")
    quality = _by_stage(epochs, PRIMARY_METRIC)
    span = f"from {losses[0].y[0]:.3f} to {losses[0].y[-1]:.3f}" if losses else ""
    return {
        "stages": [(stage, style) for stage, style in STAGE_STYLES.items() if any(line.style == style for line in losses)],
        "loss": _chart(losses, Axis(label="epoch"), Axis(label="loss per item, nats"), f"Training loss by epoch: {span}"),
        "quality": _chart(quality, Axis(label="epoch"), Axis(label="validation NDCG@10"), "NDCG@10 on the validation set by epoch"),
    }


def _by_stage(epochs: list[dict[str, Any]], key: str) -> list[Line]:
    found = []
    for stage, style in STAGE_STYLES.items():
        points = [(line["epoch"], line[key]) for line in epochs if line["stage"] == stage and key in line]
        if points:
            epoch, values = np.array(points, dtype=np.float64).T
            found.append(Line(style=style, x=epoch, y=values))
    return found


def _tail(data: ReportData) -> dict[str, Any]:
    """Popularity bias: the share of popular items among recommendations and among users' interactions."""
    styles = {INTERACTIONS: INTERACTIONS_STYLE, MODEL: MODEL_STYLE}
    share = np.linspace(0, 1, len(data.tail[INTERACTIONS]))
    drawn = [Line(style=styles.get(name, BASELINE_STYLE), x=share, y=values) for name, values in data.tail.items()]
    tenth = len(share) // 10
    at_tenth = {name: float(values[tenth]) for name, values in data.tail.items()}
    shares = ", ".join(f"{value:.0%} {title(name)}" for name, value in at_tenth.items())
    x, y = Axis(label="share of the catalogue, most popular first", is_share=True), Axis(label="share of positions", is_share=True)
    return {
        "chart": lines(drawn, x, y, f"Share of the most popular tenth of the catalogue: {shares}"),
        "at_tenth": at_tenth,
        "styles": styles,
    }


def _chart(drawn: list[Line], x: Axis, y: Axis, description: str) -> Markup:
    return lines(drawn, x, y, description) if drawn else Markup("")


def _most(intervals: list[Interval]) -> float:
    return max(max(interval.high, interval.value) for interval in intervals) * 1.02
