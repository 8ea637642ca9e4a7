"""The guard: a model that a simple count beats is not shown to anyone.

It needs nothing but the figures, so that it runs where no model can be loaded.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lodestar.errors import DataError
from lodestar.evaluation.names import BUNDLES, MODEL, UNCOMPRESSED, title
from lodestar.progress import log_event

EVALUATION = "evaluation.json"
JUDGED_BY = "ndcg_at_10"
KEEP_WHOLE = """--overrides '{"compression": {"margin": 0}}'"""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the model may go out, and a sentence for a person."""

    passes: bool
    reason: str

    def markdown(self) -> str:
        """The same for a page that shows Markdown."""
        return f"**{'May go out' if self.passes else 'Must not go out'}.** {self.reason}\n"


def judged(evaluation: Path) -> Verdict:
    """Judge anew by the figures in a folder that `evaluate` wrote; DataError E153 where they are missing or incomplete.

    What is judged is the bundle that would go out; the one it was compressed from is no baseline, and named where it would pass.
    """
    file = evaluation / EVALUATION
    try:
        content = json.loads(file.read_text())
        models, left_out = content["models"], [str(name) for name in content.get("skipped", {})]
        figures = {name: float(model["metrics"][JUDGED_BY]["value"]) for name, model in models.items()}
        baselines = {name: value for name, value in figures.items() if name not in BUNDLES}
        found = verdict(figures[MODEL], baselines, left_out, figures.get(UNCOMPRESSED))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError("E153", f"{file} holds no evaluation ({error!r})", remedy="Evaluate the bundle first.") from error
    log_event("verdict", passes=found.passes, reason=found.reason, **figures)
    return found


def verdict(model: float, baselines: Mapping[str, float], left_out: Collection[str] = (), uncompressed: float | None = None) -> Verdict:
    """No where any baseline's NDCG@10 is higher, by the point estimates; no, too, where there is nothing to compare with.

    Baselines that were `left_out` are named. Where the `uncompressed` model would pass, the reason says so, and how it is kept.
    """
    found = _compared(model, baselines, uncompressed)
    names = ", ".join(map(title, sorted(left_out)))
    return replace(found, reason=f"{found.reason} Not judged, and left out: {names}.") if names else found


def _compared(model: float, baselines: Mapping[str, float], uncompressed: float | None) -> Verdict:
    # "Not at least" refuses what is not a number as well.
    ahead = {name: value for name, value in baselines.items() if not model >= value}
    if ahead:
        losses = ", ".join(f"{title(name)} ({value:.4f})" for name, value in sorted(ahead.items(), key=lambda pair: (-pair[1], pair[0])))
        reason = f"NDCG@10 is {model:.4f}, and {losses} {'do' if len(ahead) > 1 else 'does'} better for less."
        if uncompressed is not None and uncompressed >= max(baselines.values()):
            reason += f" Uncompressed it is {uncompressed:.4f}, which would pass: run it again with {KEEP_WHOLE} added."
        return Verdict(passes=False, reason=reason)
    if not baselines:
        return Verdict(passes=False, reason=f"NDCG@10 is {model:.4f}, and there is no baseline to compare it with.")
    name, value = max(baselines.items(), key=lambda pair: pair[1])
    return Verdict(
        passes=True, reason=f"NDCG@10 is {model:.4f}, and no baseline does better; the best of them is {title(name)} ({value:.4f})."
    )
