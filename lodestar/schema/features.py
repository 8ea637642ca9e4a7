"""Features: each declared once. Its column in the tables, its field in Feast, its stream and what a model is given follow from the line."""

from dataclasses import dataclass
from itertools import chain

from lodestar.schema.columns import *
from lodestar.schema.events import POSITIVE, EventType

# What Feast calls things.
FEAST_PROJECT = "lodestar"
QUERY = "query"  # what was searched for, as `query_key` spells it
ENTITIES = {USER_ID: "user", ITEM_ID: "item", QUERY: "query"}  # by the key that rows of it have
USER_PROFILE_VIEW, USER_ACTIVITY_VIEW, USER_SEQUENCE_VIEW = "user_profile", "user_activity", "user_sequence"
ITEM_PROFILE_VIEW, ITEM_STATS_VIEW, QUERY_STATS_VIEW = "item_profile", "item_stats", "query_stats"
TEXT_EMBEDDING_VIEW, IMAGE_EMBEDDING_VIEW, CROSS_VIEW = "item_text_embedding", "item_image_embedding", "user_item_cross"
RETRIEVAL_SERVICE, RANK_SERVICE, SEARCH_SERVICE = "retrieval_v1", "rank_v1", "search_v1"
TEXT_EMBEDDING = "text_embedding"
RECENT_ITEMS, RECENT_TYPES, RECENT_GAPS_S = "item_ids", "event_types", "gaps_s"
ITEM_LANGUAGE = "item_language"  # a user has a language, too
FEATURE_TIME, KNOWN_TIME = "event_timestamp", "created_timestamp"
LABEL, BOUGHT, COMPLETED = "label", "bought", "completed"  # and RATING: what came of what was shown
_SPANS_H = {"1h": 1, "1d": 24, "7d": 168, "30d": 720}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A value of an entity; `kind` is one of `lodestar.schema.packed.KINDS`, `default` what a model is given where nothing is known."""

    name: str
    kind: str
    unit: str = ""
    default: float | str | None = None
    pii: bool = False


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many events of an entity there were in the last `window_h` whole hours, on a scale of 0–1.

    With `halvings` it is a decayed count, and `window_h` its half-life: what an event weighs halves when that time has passed, so many
    times, and then it is gone. Which events count, `types` says.
    """

    name: str
    window_h: int
    halvings: int = 0
    types: frozenset[EventType] = POSITIVE
    kind: str = "f4"
    unit: str = "log of the count, as a share of the highest in training"
    default: float = 0.0
    pii: bool = False

    @property
    def weights(self) -> dict[int, int]:
        """The count as a sum of plain ones, in whole numbers: how often that of each window (in hours) is taken."""
        last = self.halvings + 1
        return {self.window_h * place: 1 << max(0, last - place - 1) for place in range(1, last + 1)}


@dataclass(frozen=True, kw_only=True)
class View:
    """Features of one entity that are known together. `is_pushed`: a stream may bring rows online between two builds."""

    name: str
    entity: str
    meaning: str
    features: tuple[Feature | Count, ...]
    is_pushed: bool = False

    @property
    def counts(self) -> tuple[Count, ...]:
        return tuple(feature for feature in self.features if isinstance(feature, Count))


# A new line in a view is all that a new feature takes, if it is a count or a column of the view's table.
VIEWS = {
    view.name: view
    for view in (
        View(
            name=USER_PROFILE_VIEW,
            entity=USER_ID,
            meaning="What the user's record says.",
            features=(
                Feature(name=COUNTRY, kind="text", pii=True),
                Feature(name=LANGUAGE, kind="text", pii=True),
                Feature(name=SEGMENTS, kind="texts", pii=True),
                Feature(name=INTERESTS, kind="texts", pii=True),
            ),
        ),
        View(
            name=USER_ACTIVITY_VIEW,
            entity=USER_ID,
            meaning="How much the user did of late, 0–1.",
            is_pushed=True,
            features=(
                *(Count(name=f"events_{span}", window_h=hours) for span, hours in _SPANS_H.items()),
                Count(name="events_decayed", window_h=_SPANS_H["1d"], halvings=3),
            ),
        ),
        View(
            name=USER_SEQUENCE_VIEW,
            entity=USER_ID,
            meaning="The user's last items, oldest first, with event types and seconds since the one before.",
            is_pushed=True,
            features=(
                Feature(name=RECENT_ITEMS, kind="texts", unit="ids"),
                Feature(name=RECENT_TYPES, kind="texts"),
                Feature(name=RECENT_GAPS_S, kind="f4s", unit="s"),
            ),
        ),
        View(
            name=ITEM_PROFILE_VIEW,
            entity=ITEM_ID,
            meaning="What the catalogue says.",
            features=(
                Feature(name=ITEM_TYPE, kind="text"),
                Feature(name=TITLE, kind="text"),
                Feature(name=CATEGORY_PATH, kind="texts"),
                Feature(name=PRICE, kind="f8", unit="the item's currency"),
                Feature(name=ITEM_LANGUAGE, kind="text"),
            ),
        ),
        View(
            name=ITEM_STATS_VIEW,
            entity=ITEM_ID,
            meaning="How much the item was taken of late, 0–1.",
            is_pushed=True,
            features=(
                *(Count(name=f"taken_{span}", window_h=_SPANS_H[span]) for span in ("1d", "7d")),
                Count(name="taken_decayed", window_h=_SPANS_H["7d"], halvings=3),
            ),
        ),
        View(
            name=TEXT_EMBEDDING_VIEW,
            entity=ITEM_ID,
            meaning="What the item's text says, as a vector of length 1.",
            features=(Feature(name=TEXT_EMBEDDING, kind="f4s"), Feature(name="text_encoder", kind="text")),
        ),
        View(
            name=IMAGE_EMBEDDING_VIEW,
            entity=ITEM_ID,
            meaning="What the item's picture shows, as the vector that item_content has of it.",
            features=(Feature(name="image_embedding", kind="f4s"), Feature(name="image_encoder", kind="text")),
        ),
        View(
            name=QUERY_STATS_VIEW,
            entity=QUERY,
            meaning="How often the query was asked of late and how often something was taken that it found, 0–1.",
            is_pushed=True,
            features=(
                *(Count(name=f"searches_{span}", window_h=_SPANS_H[span], types=frozenset({EventType.SEARCH})) for span in ("1d", "7d")),
                Count(name="answered_7d", window_h=_SPANS_H["7d"]),
            ),
        ),
    )
}
COUNTED = tuple(view for view in VIEWS.values() if view.counts)
DEFAULTS = {feature.name: feature.default for feature in chain.from_iterable(view.features for view in VIEWS.values())}


def query_key(text: str) -> str:
    """The same for queries that differ in case and white space only, wherever it is asked."""
    return " ".join(text.casefold().split())
