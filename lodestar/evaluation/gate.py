"""Quality gate: a model passes only if no baseline has a higher NDCG@10.

It reads evaluation.json alone, so it runs where no model can be loaded.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lodestar.errors import DataError
from lodestar.evaluation.metric_titles import BUNDLES, MODEL, UNCOMPRESSED, title
from lodestar.progress import log_event

EVALUATION = "evaluation.json"
PRIMARY_METRIC = "ndcg_at_10"
KEEP_WHOLE = """--overrides '{"compression": {"max_ndcg_drop": 0}}'"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the model passes the gate, and the reason as a sentence."""

    passes: bool
    reason: str

    def markdown(self) -> str:
        """The verdict as a line of Markdown."""
        return f"**Gate {'passed' if self.passes else 'failed'}.** {self.reason}\n"


def read_verdict(evaluation: Path) -> Verdict:
    """Recompute the verdict from the evaluation.json in a folder that `evaluate` wrote.

    The verdict is about the compressed bundle; the uncompressed one is no baseline, and is named if it would pass.
    Raises DataError E153 if the file is missing or incomplete.
    """
    file = evaluation / EVALUATION
    try:
        content = json.loads(file.read_text())
        models, skipped = content["models"], [str(name) for name in content.get("skipped", {})]
        figures = {name: float(model["metrics"][PRIMARY_METRIC]["value"]) for name, model in models.items()}
        baselines = {name: value for name, value in figures.items() if name not in BUNDLES}
        found = verdict(figures[MODEL], baselines, skipped, figures.get(UNCOMPRESSED))
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            "E153", f"{file} is not a complete evaluation ({error!r})", remedy="Evaluate the bundle first: `lodestar step evaluate`."
        ) from error
    log_event("verdict", passes=found.passes, reason=found.reason, **figures)
    return found


def verdict(model: float, baselines: Mapping[str, float], left_out: Collection[str] = (), uncompressed: float | None = None) -> Verdict:
    """Gate on point estimates of NDCG@10: fails if any baseline is higher, or if there is no baseline.

    The reason names the baselines that were skipped (`left_out`). If the `uncompressed` model would pass, it says so, with the override
    that keeps it uncompressed.
    """
    found = _compare(model, baselines, uncompressed)
    names = ", ".join(map(title, sorted(left_out)))
    return replace(found, reason=f"{found.reason} Skipped baselines: {names}.") if names else found


def _compare(model: float, baselines: Mapping[str, float], uncompressed: float | None) -> Verdict:
    # `not >=` also fails a model or a baseline that is NaN.
    better = {name: value for name, value in baselines.items() if not model >= value}
    if better:
        names = ", ".join(f"{title(name)} ({value:.4f})" for name, value in sorted(better.items(), key=lambda pair: (-pair[1], pair[0])))
        reason = f"NDCG@10 {model:.4f} is below {names}."
        if uncompressed is not None and uncompressed >= max(baselines.values()):
            reason += f" Uncompressed, it is {uncompressed:.4f} and would pass: run again with {KEEP_WHOLE}."
        return Verdict(passes=False, reason=reason)
    if not baselines:
        return Verdict(passes=False, reason=f"NDCG@10 is {model:.4f}, and there is no baseline to compare it with.")
    name, value = max(baselines.items(), key=lambda pair: pair[1])
    return Verdict(passes=True, reason=f"NDCG@10 {model:.4f} is not below the best baseline, {title(name)} ({value:.4f}).")
