"""The result of an evaluation (evaluation.json): metrics with intervals, the protocol, slices and the gate's verdict."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from lodestar.config import Recipe
from lodestar.evaluation.gate import PRIMARY_METRIC, Verdict
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.metric_titles import BUNDLES, MODEL, UNCOMPRESSED
from lodestar.evaluation.slices import Slice

HEADLINE_METRICS = ("hr_at_10", "ndcg_at_10")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Evaluation protocol: the split, and `users` test users sampled from `eligible_users` eligible ones.

    `left_out` counts users with a test item but no history (cold start); `refit`: the model was also trained on the validation items, and
    so were the baselines. `feedback` are the rules of feedback as JSON values, `counts` what they made of the log's events.
    """

    split: str
    part: str = "test"
    users: int
    eligible_users: int
    left_out: int
    items: int
    interactions: int
    cutoffs: tuple[int, ...]
    samples: int
    seed: int
    refit: bool
    feedback: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def recipients(self) -> str:
        """Qualifier of coverage and Gini if the test users are a sample ("to the 1,000 sampled users"), else empty."""
        return f"to the {self.users:,} sampled users" if self.eligible_users > self.users else ""


@dataclass(frozen=True, kw_only=True)
class BundleSummary:
    """The evaluated bundle and its features; `num_bytes` is its size on disk, `max_length` the number of history items that it reads.

    `ranked` is the number of candidates that the ranker reorders, 0 without a ranker; `threads` (per worker) and `workers` are those of
    its training, 0 if unknown.
    """

    digest: str
    features: str
    family: str
    table_precision: str
    encoder_precision: str
    max_length: int
    ranked: int
    num_bytes: int
    threads: int = 0
    workers: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """One model's metrics: means over users with intervals, and catalogue metrics (coverage, Gini) without."""

    metrics: dict[str, Interval]
    catalogue: dict[str, float]
    hyperparameters: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The content of evaluation.json; `differences` are model minus `best_baseline`, paired by user.

    `bundle` is the evaluated one, with the metrics `models["model"]`; `uncompressed` is the bundle before compression, the same if nothing
    was compressed. `rating_errors` are RMSE by model, empty without a rating model.
    """

    protocol: Protocol
    bundle: BundleSummary
    uncompressed: BundleSummary
    recipe: Recipe
    models: dict[str, ModelMetrics]
    skipped: dict[str, str]
    best_baseline: str
    differences: dict[str, Interval]
    slices: list[Slice]
    verdict: Verdict
    rating_errors: dict[str, Interval]

    @property
    def model(self) -> ModelMetrics:
        """Metrics of the evaluated bundle."""
        return self.models[MODEL]

    @property
    def full(self) -> ModelMetrics:
        """Metrics of the uncompressed bundle; those of `model` if nothing was compressed."""
        return self.models.get(UNCOMPRESSED, self.model)

    def baselines(self) -> dict[str, ModelMetrics]:
        """Metrics of the baselines by name."""
        return {name: figures for name, figures in self.models.items() if name not in BUNDLES}

    def headline(self) -> dict[str, float]:
        """Headline metrics as a flat dictionary (headline.json), as experiment trackers take them."""
        found: dict[str, float] = {"users": float(self.protocol.users)}
        for name in HEADLINE_METRICS:
            interval = self.model.metrics[name]
            found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        found |= {f"{name}_{UNCOMPRESSED}": self.full.metrics[name].value for name in HEADLINE_METRICS}
        found |= {f"{name}_{PRIMARY_METRIC}": figures.metrics[PRIMARY_METRIC].value for name, figures in self.baselines().items()}
        found |= {f"{name}_left_out": 1.0 for name in self.skipped}
        lead = self.differences[PRIMARY_METRIC]
        found |= {f"{PRIMARY_METRIC}_lead": lead.value, f"{PRIMARY_METRIC}_lead_low": lead.low, f"{PRIMARY_METRIC}_lead_high": lead.high}
        if self.rating_errors:
            found["rating_rmse"] = self.rating_errors[MODEL].value
        return found | {"coverage_at_10": self.model.catalogue["coverage_at_10"], "passes": float(self.verdict.passes)}

    def to_json(self) -> str:
        """The text of evaluation.json: indented, keys sorted, no NaN."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"
