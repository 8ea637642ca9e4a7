"""What an evaluation found, as a value: the figures, how they came about, and the verdict."""

import json
from dataclasses import asdict, dataclass

from lodestar.config import Recipe
from lodestar.evaluation.guard import JUDGED_BY, Verdict
from lodestar.evaluation.intervals import Interval
from lodestar.evaluation.names import BUNDLES, MODEL, UNCOMPRESSED
from lodestar.evaluation.slices import Slice

HEADLINES = ("hr_at_10", "ndcg_at_10")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How it was judged: `users` of `drawn_from` that could be.

    `left_out` counts users with an answer but no history, `refit` whether the model knew the validation items.
    """

    split: str
    part: str = "test"
    users: int
    drawn_from: int
    left_out: int
    items: int
    interactions: int
    cutoffs: tuple[int, ...]
    samples: int
    seed: int
    refit: bool

    @property
    def shown_to(self) -> str:
        """Of whom figures of the catalogue speak, where not of everyone; empty where they do."""
        return f"to the {self.users:,} drawn users" if self.drawn_from > self.users else ""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which bundle was judged, and on which features; `num_bytes` is its size on disk, `max_length` how many items it looks at.

    `ranked` is how many candidates a ranker puts in order, 0 without one; `threads` and `workers` are those it was trained with, 0 where
    nothing says.
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
class Figures:
    """One model's: means over users with intervals, and figures of the catalogue as a whole, which have none."""

    metrics: dict[str, Interval]
    catalogue: dict[str, float]
    setting: str = ""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that evaluation.json holds; `differences` are the model's leads over `rival`, the best baseline.

    `bundle` is the one that would go out, whose figures are the model's; `uncompressed` the one it was made from, the same where
    nothing was compressed.
    `rating_errors` are RMSE by contestant, of bundles that foretell ratings.
    """

    protocol: Protocol
    bundle: Identity
    uncompressed: Identity
    recipe: Recipe
    models: dict[str, Figures]
    skipped: dict[str, str]
    rival: str
    differences: dict[str, Interval]
    slices: list[Slice]
    verdict: Verdict
    rating_errors: dict[str, Interval]

    @property
    def model(self) -> Figures:
        return self.models[MODEL]

    @property
    def full(self) -> Figures:
        """Of the uncompressed bundle."""
        return self.models.get(UNCOMPRESSED, self.model)

    def baselines(self) -> dict[str, Figures]:
        return {name: figures for name, figures in self.models.items() if name not in BUNDLES}

    def headline(self) -> dict[str, float]:
        """The few figures that name a run, flat."""
        found: dict[str, float] = {"users": float(self.protocol.users)}
        for name in HEADLINES:
            interval = self.model.metrics[name]
            found |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        found |= {f"{name}_{UNCOMPRESSED}": self.full.metrics[name].value for name in HEADLINES}
        found |= {f"{name}_{JUDGED_BY}": figures.metrics[JUDGED_BY].value for name, figures in self.baselines().items()}
        found |= {f"{name}_left_out": 1.0 for name in self.skipped}
        lead = self.differences[JUDGED_BY]
        found |= {f"{JUDGED_BY}_lead": lead.value, f"{JUDGED_BY}_lead_low": lead.low, f"{JUDGED_BY}_lead_high": lead.high}
        if self.rating_errors:
            found["rating_rmse"] = self.rating_errors[MODEL].value
        return found | {"coverage_at_10": self.model.catalogue["coverage_at_10"], "passes": float(self.verdict.passes)}

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, allow_nan=False) + "\n"
