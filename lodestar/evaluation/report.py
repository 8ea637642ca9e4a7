"""The page that a person looks at before a model goes out: one file that needs nothing beside it, not even a network."""

from typing import Any

import numpy as np
from markupsafe import Markup

from lodestar.evaluation.exhibits import Exhibits
from lodestar.evaluation.guard import JUDGED_BY
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.judge import CUTOFF, TAKEN
from lodestar.evaluation.names import MODEL, title
from lodestar.evaluation.outcome import HEADLINES, Evaluation
from lodestar.evaluation.plots import Axis, Line, bar, lines
from lodestar.evaluation.template import rendered

TEMPLATE = "report.html"
MODEL_STYLE, RIVAL_STYLE, OTHER_STYLE, TAKEN_STYLE = "model", "rival", "other", "taken"
STAGE_STYLES = {"search": MODEL_STYLE, "refit": RIVAL_STYLE}


def page(evaluation: Evaluation, exhibits: Exhibits) -> str:
    """HTML; every text of the data is escaped, the same input gives the same bytes."""
    return rendered(
        TEMPLATE,
        evaluation=evaluation,
        lead=evaluation.differences[JUDGED_BY],
        judged_by=JUDGED_BY,
        metric_bars=[(name, _metric_bars(evaluation, name)) for name in reversed(HEADLINES)],
        slice_bars=_slice_bars(evaluation),
        learning=_learning(exhibits.epochs),
        tail=_tail(exhibits),
        examples=exhibits.examples,
        rating_bars=_rating_bars(evaluation),
        cutoff=CUTOFF,
    )


def _metric_bars(evaluation: Evaluation, name: str) -> list[dict[str, Any]]:
    """One row per model, the best baseline in a colour of its own."""
    found = {model: figures.metrics[name] for model, figures in evaluation.models.items()}
    most = _most(list(found.values()))
    styles = {MODEL: MODEL_STYLE, evaluation.rival: RIVAL_STYLE}
    return [
        {"model": model, "interval": interval, "bar": bar(interval, most, styles.get(model, OTHER_STYLE))}
        for model, interval in found.items()
    ]


def _rating_bars(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Errors, of which the lowest is the best."""
    errors = evaluation.rating_errors
    most = _most(list(errors.values())) if errors else 0.0
    styles = {name: MODEL_STYLE if name == MODEL else OTHER_STYLE for name in errors}
    return [{"model": name, "interval": error, "bar": bar(error, most, styles[name])} for name, error in errors.items()]


def _slice_bars(evaluation: Evaluation) -> list[tuple[str, list[dict[str, Any]]]]:
    """Slices by what they go by; all bars of the page's slices share one scale."""
    most = _most([side[JUDGED_BY] for found in evaluation.slices for side in (found.model, found.baseline)])
    groups: dict[str, list[dict[str, Any]]] = {}
    for found in evaluation.slices:
        mine, theirs = found.model[JUDGED_BY], found.baseline[JUDGED_BY]
        row = {"slice": found, "model": mine, "baseline": theirs, "ahead": found.ahead[JUDGED_BY]}
        drawn = {"model_bar": bar(mine, most, MODEL_STYLE), "baseline_bar": bar(theirs, most, RIVAL_STYLE)}
        groups.setdefault(found.by, []).append(row | drawn)
    return list(groups.items())


def _learning(epochs: list[dict[str, Any]]) -> dict[str, Any]:
    """Charts of the loss and of what validation said, with the stages that are in them."""
    losses = _by_stage(epochs, "loss")
    quality = _by_stage(epochs, JUDGED_BY)
    told = f"falls from {losses[0].y[0]:.3f} to {losses[0].y[-1]:.3f}" if losses else ""
    return {
        "stages": [(stage, style) for stage, style in STAGE_STYLES.items() if any(line.style == style for line in losses)],
        "loss": _chart(losses, Axis(label="epoch"), Axis(label="loss per item, nats"), f"Training loss by epoch: {told}"),
        "quality": _chart(quality, Axis(label="epoch"), Axis(label="validation NDCG@10"), "NDCG@10 on the validation part by epoch"),
    }


def _by_stage(epochs: list[dict[str, Any]], key: str) -> list[Line]:
    found = []
    for stage, style in STAGE_STYLES.items():
        points = [(line["epoch"], line[key]) for line in epochs if line["stage"] == stage and key in line]
        if points:
            epoch, values = np.array(points, dtype=np.float64).T
            found.append(Line(style=style, x=epoch, y=values))
    return found


def _tail(exhibits: Exhibits) -> dict[str, Any]:
    """Whose items are shown, beside whose are taken."""
    styles = {TAKEN: TAKEN_STYLE, MODEL: MODEL_STYLE}
    share = np.linspace(0, 1, len(exhibits.tail[TAKEN]))
    drawn = [Line(style=styles.get(name, RIVAL_STYLE), x=share, y=values) for name, values in exhibits.tail.items()]
    tenth = len(share) // 10
    at_tenth = {name: float(values[tenth]) for name, values in exhibits.tail.items()}
    told = ", ".join(f"{value:.0%} {title(name)}" for name, value in at_tenth.items())
    x, y = Axis(label="share of the catalogue, most popular first", is_share=True), Axis(label="share of places", is_share=True)
    return {"chart": lines(drawn, x, y, f"The most popular tenth of the catalogue takes: {told}"), "at_tenth": at_tenth, "styles": styles}


def _chart(drawn: list[Line], x: Axis, y: Axis, description: str) -> Markup:
    return lines(drawn, x, y, description) if drawn else Markup("")


def _most(intervals: list[Interval]) -> float:
    return max(max(interval.high, interval.value) for interval in intervals) * 1.02
