"""Selection of the compressed variant to publish: the smallest whose drop of NDCG@10 is within the margin (non-inferiority)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lodestar.bundle.item_table import Precision


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Size, latency and quality of one combination of precisions; `ndcg_change` is against fp32, `low` and `high` its 95 % interval.

    `same_top_10` is the share of fp32's top 10 that this variant keeps.
    """

    table: Precision
    encoder: Precision
    digest: str
    size_bytes: int
    latency_p50_ms: float
    latency_p99_ms: float
    ndcg_at_10: float
    ndcg_change: float
    low: float
    high: float
    same_top_10: float
    is_chosen: bool = False
    reason: str = ""


def select_variant(variants: Sequence[Variant], margin: float) -> list[Variant]:
    """Mark the smallest variant whose interval's lower end is above -`margin` times the first's NDCG@10; the first always qualifies.

    With margin 0 only the first (uncompressed) qualifies: no change for the measured users is no proof for others.
    """
    threshold = -margin * variants[0].ndcg_at_10
    qualified = [variant for index, variant in enumerate(variants) if index == 0 or (margin > 0 and variant.low >= threshold)]
    smallest = min(qualified, key=lambda variant: variant.size_bytes)
    return [replace(variant, is_chosen=variant is smallest, reason=_reason(variant, smallest, threshold, margin)) for variant in variants]


def _reason(variant: Variant, smallest: Variant, threshold: float, margin: float) -> str:
    if margin == 0:
        return "uncompressed" if variant is smallest else "the margin is 0"
    if variant is smallest:
        return "the smallest that is not worse"
    if variant.low < threshold and variant.ndcg_change != 0:
        return f"may lose more than {-threshold:.4f}"
    return "larger"


def markdown(variants: Sequence[Variant], claim: str) -> str:
    """Markdown table of all variants below `claim`, the sentence that says how they were measured."""
    first = variants[0].size_bytes
    rows = [
        f"| {variant.table} | {variant.encoder} | {variant.size_bytes:,} | {first / variant.size_bytes:.1f}× "
        f"| {variant.latency_p50_ms:.2f} | {variant.latency_p99_ms:.2f} "
        f"| {variant.ndcg_change:+.4f} [{variant.low:+.4f}, {variant.high:+.4f}] | {variant.same_top_10:.1%} "
        f"| {'**chosen**: ' if variant.is_chosen else ''}{variant.reason} |"
        for variant in variants
    ]
    head = "| Item table | Encoder | Bytes | Smaller | p50, ms | p99, ms | NDCG@10 against fp32 | Same top 10 | Why |"
    return "\n".join([claim, "", head, "|---|---|--:|--:|--:|--:|--:|--:|---|", *rows, ""])
