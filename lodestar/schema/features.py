"""Features: what Feast calls things, and each count declared once."""

from dataclasses import dataclass

from lodestar.schema.columns import ITEM_ID, USER_ID

# What Feast calls things.
FEAST_PROJECT = "lodestar"
USER_ENTITY, ITEM_ENTITY = "user", "item"
USER_PROFILE_VIEW, USER_ACTIVITY_VIEW, USER_SEQUENCE_VIEW = "user_profile", "user_activity", "user_sequence"
ITEM_PROFILE_VIEW, ITEM_STATS_VIEW = "item_profile", "item_stats"
RETRIEVAL_SERVICE, RANK_SERVICE = "retrieval_v1", "rank_v1"
RECENT_ITEMS, RECENT_TYPES, RECENT_GAPS_S = "item_ids", "event_types", "gaps_s"
_SPANS_H = {"1h": 1, "1d": 24, "7d": 168, "30d": 720}
FEATURE_TIME, KNOWN_TIME, LABEL = "event_timestamp", "created_timestamp", "label"


@dataclass(frozen=True, kw_only=True)
class Windowed:
    """A feature that counts an entity's positive events in the last `window_h` whole hours, on a scale of 0–1."""

    name: str
    entity: str
    view: str
    window_h: int


# A new line here is all that a new count takes: table, Feast view, stream and request form follow from it.
WINDOWED: tuple[Windowed, ...] = (
    *(Windowed(name=f"events_{span}", entity=USER_ID, view=USER_ACTIVITY_VIEW, window_h=hours) for span, hours in _SPANS_H.items()),
    *(Windowed(name=f"taken_{span}", entity=ITEM_ID, view=ITEM_STATS_VIEW, window_h=_SPANS_H[span]) for span in ("1d", "7d")),
)
