"""Which variant goes out: the smallest one whose loss is surely small enough."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lodestar.item_table import Precision


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What one combination of precisions costs and is worth; `ndcg_change` is against fp32, `low` and `high` its 95 % interval."""

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


def choose(variants: Sequence[Variant], margin: float) -> list[Variant]:
    """Mark the smallest variant whose interval ends above a loss of `margin` times the NDCG of the first, which always qualifies.

    With a margin of 0 it is the only one: what changes nothing for the users looked at may still change something for others.
    """
    lowest = -margin * variants[0].ndcg_at_10
    fit = [variant for place, variant in enumerate(variants) if place == 0 or (margin > 0 and variant.low >= lowest)]
    smallest = min(fit, key=lambda variant: variant.size_bytes)
    return [replace(variant, is_chosen=variant is smallest, reason=_reason(variant, smallest, lowest, margin)) for variant in variants]


def _reason(variant: Variant, smallest: Variant, lowest: float, margin: float) -> str:
    if margin == 0:
        return "nothing is given up" if variant is smallest else "the margin is 0"
    if variant is smallest:
        return "the smallest that is not worse"
    if variant.low < lowest and variant.ndcg_change != 0:
        return f"may lose more than {-lowest:.4f}"
    return "larger"


def markdown(variants: Sequence[Variant], claim: str) -> str:
    """A table of all variants under a sentence that says how they were measured."""
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
