"""Rules of feedback in words, for the model card: what is positive, refused and filtered, and how many events that is."""

from collections.abc import Mapping
from typing import Any

from lodestar.schema import feedback
from lodestar.schema.time_units import DAY_S, HOUR_S, MINUTE_S

UNITS = ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "min"), (1, "s"))


def rules(content: Mapping[str, Any]) -> str:
    """The rules (as JSON values) in sentences."""
    found = feedback.from_json(content)
    weights = sorted(found.positive.items(), key=lambda pair: (-pair[1], pair[0]))
    is_weighted = len(set(found.positive.values())) > 1
    positive = ", ".join(f"{kind} {weight:g}" if is_weighted else str(kind) for kind, weight in weights)
    refused = [str(kind) for kind in found.negative]
    if found.rating_negative_to >= found.rating_scale[0]:
        refused.append(f"ratings up to {found.rating_negative_to:g}")
    sentences = [
        f"Positive feedback{', by weight' if is_weighted else ', all of equal weight'}: {positive}.",
        f"A rating is positive from {found.rating_positive_from:g} of {found.rating_scale[0]:g} to {found.rating_scale[1]:g}.",
        f"Refused for good by: {', '.join(refused)}." if refused else "Nothing is a refusal.",
        f"Seen by: {', '.join(found.seen)}.",
    ]
    if found.consumption == "once":
        return " ".join([*sentences, "What was seen is not recommended again."])
    return " ".join([*sentences, f"What was seen may be recommended again after {_duration(found.repeat_gap_s)}."])


def counts(found: Mapping[str, int]) -> str:
    """The counts of events in sentences; empty without counts."""
    if not any(found.values()):
        return ""
    neutral = f"{found['neutral']:,} neutral that made an item seen"
    sentences = [f"Events: {found['positive']:,} positive, {found['negative']:,} refusals, {neutral}."]
    if found["withdrawn_users"]:
        users = f"{found['withdrawn_users']:,} users who withdrew consent"
        sentences.append(f"{found['withdrawn_events']:,} events of {users} train nothing.")
    if found["cut_users"]:
        sentences.append(f"Of {found['cut_users']:,} users with more filtered items than are kept online, the newest are.")
    return " ".join(sentences)


def _duration(seconds: float) -> str:
    """Seconds in the largest unit that divides them."""
    size, unit = next(((size, unit) for size, unit in UNITS if seconds and seconds % size == 0), (1, "s"))
    return f"{seconds / size:g} {unit}"
