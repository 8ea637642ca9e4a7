"""Rules of feedback: which events train a model and how much, which are refusals, which make an item seen, and whether it may come again.

A data set declares them; its tables' manifest keeps them, and features, training, evaluation and serving follow them.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, Self, get_args

from lodestar.schema.columns import RATING_SCALE
from lodestar.schema.events import POSITIVE, EventType

Consumption = Literal["once", "repeat"]
Domain = Literal["general", "shop", "media", "social", "education"]
POSITIVE_FROM, NEGATIVE_TO = 0.75, 0.25  # shares of the rating scale: 4 and 2 of 1–5, 7.5 and 2.5 of 0–10

# Default weight of each positive type: how much more a purchase says than a view.
WEIGHTS: Mapping[EventType, float] = MappingProxyType(
    {
        EventType.VIEW: 1.0,
        EventType.CLICK: 1.0,
        EventType.DWELL: 1.0,
        EventType.PLAY: 2.0,
        EventType.PROGRESS: 2.0,
        EventType.QUIZ: 2.0,
        EventType.COMMENT: 2.0,
        EventType.LIKE: 3.0,
        EventType.SHARE: 3.0,
        EventType.ADD_TO_CART: 3.0,
        EventType.RATING: 4.0,
        EventType.ENROL: 4.0,
        EventType.PURCHASE: 5.0,
        EventType.COMPLETE: 5.0,
    }
)
# Default types by which an item is had, by domain: only those make it seen where the log has any of them. Of a social feed all is seen.
SEEN: Mapping[Domain, tuple[EventType, ...]] = MappingProxyType(
    {
        "general": (
            EventType.PURCHASE,
            EventType.RATING,
            EventType.PLAY,
            EventType.DWELL,
            EventType.ENROL,
            EventType.COMPLETE,
        ),
        "shop": (EventType.PURCHASE, EventType.RATING),
        "media": (EventType.PLAY, EventType.DWELL, EventType.COMPLETE, EventType.PURCHASE, EventType.RATING),
        "social": (),
        "education": (EventType.ENROL, EventType.COMPLETE, EventType.QUIZ, EventType.PURCHASE, EventType.RATING),
    }
)


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """Rules of feedback of a data set; ValueError, which names the field, for rules that contradict each other.

    `positive` is the weight (above 0) by positive event type, `negative` the types that refuse an item: it is never recommended to that
    user again. An event with a rating of at most `rating_negative_to` is negative too, whatever its type; an event of type rating is
    positive only from `rating_positive_from` on. All other events are neutral. See `on_scale` for the thresholds of another scale.

    `seen` are the types that make an item seen, whatever the rating; empty: the default of `domain` (see `resolved`). With `consumption`
    once a seen item is not recommended again; with repeat it is, `repeat_gap_s` seconds after the user's last event of such a type.
    """

    positive: Mapping[EventType, float] = field(default_factory=lambda: dict(WEIGHTS))
    negative: tuple[EventType, ...] = (EventType.HIDE,)
    rating_scale: tuple[float, float] = RATING_SCALE
    rating_positive_from: float = RATING_SCALE[0] + POSITIVE_FROM * (RATING_SCALE[1] - RATING_SCALE[0])
    rating_negative_to: float = RATING_SCALE[0] + NEGATIVE_TO * (RATING_SCALE[1] - RATING_SCALE[0])
    domain: Domain = "general"
    seen: tuple[EventType, ...] = ()
    consumption: Consumption = "once"
    repeat_gap_s: float = 0.0

    def __post_init__(self) -> None:
        (low, high), item_types = self.rating_scale, {*POSITIVE, EventType.HIDE}
        for name in ("positive", "negative", "seen"):
            unusable = sorted(set(getattr(self, name)) - item_types)
            _require(not unusable, f"{name}: {', '.join(unusable)} is no event with an item; those are {', '.join(sorted(item_types))}")
        both = sorted(set(self.positive) & set(self.negative))
        _require(not both, f"negative: {', '.join(both)} is positive too; name it once")
        _require(all(0 < weight < float("inf") for weight in self.positive.values()), "positive: a weight is a number above 0")
        _require(low < high, f"rating_scale: {low:g} is not below {high:g}; write the lowest rating and the highest")
        _require(
            low <= self.rating_positive_from <= high,
            f"rating_positive_from: {self.rating_positive_from:g} is not on the scale from {low:g} to {high:g}",
        )
        _require(
            self.rating_negative_to < self.rating_positive_from,
            f"rating_negative_to: {self.rating_negative_to:g} is not below rating_positive_from {self.rating_positive_from:g}",
        )
        _require(self.domain in get_args(Domain), f"domain: {self.domain} is none of {', '.join(get_args(Domain))}")
        _require(self.consumption in get_args(Consumption), f"consumption: {self.consumption} is neither once nor repeat")
        _require(0 <= self.repeat_gap_s < float("inf"), f"repeat_gap_s: {self.repeat_gap_s:g} is no number of seconds")
        _require(
            self.consumption == "repeat" or self.repeat_gap_s == 0,
            'repeat_gap_s: it needs consumption = "repeat": what is consumed once does not come again',
        )

    @classmethod
    def on_scale(cls, low: float, high: float, **others: Any) -> Self:
        """The rules for ratings from `low` to `high`: positive from three quarters of the scale, negative up to one quarter.

        `others` are further fields, which win over the default thresholds.
        """
        thresholds: dict[str, Any] = {
            "rating_positive_from": low + POSITIVE_FROM * (high - low),
            "rating_negative_to": low + NEGATIVE_TO * (high - low),
        }
        return cls(rating_scale=(low, high), **{**thresholds, **others})

    def resolved(self, types: Collection[str]) -> Self:
        """The rules with `seen` filled in for a log that has events of the given types.

        Those of the domain that the log has; where it has none, as a log of views, every positive type.
        """
        if self.seen:
            return self
        return replace(self, seen=tuple(kind for kind in SEEN[self.domain] if kind in types) or tuple(sorted(self.positive)))

    @property
    def filters_history(self) -> bool:
        """Whether every item of a user's history is one that is not recommended again."""
        return self.consumption == "once" and set(self.positive) <= set(self.seen)

    @property
    def is_binary(self) -> bool:
        """Whether every positive event says the same and none is a refusal: weights, ratings and refusals decide nothing."""
        is_weighted = len(set(self.positive.values())) > 1
        is_rated = self.rating_positive_from > self.rating_scale[0] or self.rating_negative_to >= self.rating_scale[0]
        return not (is_weighted or is_rated or self.negative or not self.filters_history or set(self.seen) > set(self.positive))

    def to_json(self) -> dict[str, Any]:
        """The rules as plain values for JSON; the inverse of `from_json`."""
        return asdict(self)


def from_json(content: Mapping[str, Any]) -> Feedback:
    """Rules from the plain values of `to_json`; ValueError or TypeError for anything else."""
    fields = dict(content)
    if "positive" in fields:
        fields["positive"] = {EventType(kind): float(weight) for kind, weight in fields["positive"].items()}
    for name in {"negative", "seen"} & fields.keys():
        fields[name] = tuple(EventType(kind) for kind in fields[name])
    if "rating_scale" in fields:
        low, high = fields["rating_scale"]
        fields["rating_scale"] = (float(low), float(high))
    return Feedback(**fields)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


# Binary implicit feedback: every interaction is positive whatever its type or rating, of equal weight, and makes its item seen for ever.
BINARY = Feedback(
    positive=dict.fromkeys(sorted(POSITIVE), 1.0),
    negative=(),
    rating_positive_from=RATING_SCALE[0],
    rating_negative_to=RATING_SCALE[0] - 1,
    seen=tuple(sorted(POSITIVE)),
)
