"""Feature declarations, one each: the column of the feature tables, the Feast field, the stream and the model input derive from it."""

from dataclasses import dataclass
from itertools import chain

from lodestar.schema.columns import *
from lodestar.schema.events import POSITIVE, EventType

# Names in Feast
FEAST_PROJECT = "lodestar"
QUERY = "query"  # search text as normalised by `query_key`
ENTITIES = {USER_ID: "user", ITEM_ID: "item", QUERY: "query"}  # Feast entity by join key
USER_PROFILE_VIEW, USER_ACTIVITY_VIEW, USER_SEQUENCE_VIEW = "user_profile", "user_activity", "user_sequence"
USER_FILTER_VIEW = "user_filter"
ITEM_PROFILE_VIEW, ITEM_STATS_VIEW, QUERY_STATS_VIEW = "item_profile", "item_stats", "query_stats"
TEXT_EMBEDDING_VIEW, IMAGE_EMBEDDING_VIEW, CROSS_VIEW = "item_text_embedding", "item_image_embedding", "user_item_cross"
RETRIEVAL_SERVICE, RANK_SERVICE, SEARCH_SERVICE = "retrieval_v1", "rank_v1", "search_v1"
TEXT_EMBEDDING = "text_embedding"
RECENT_ITEMS, RECENT_TYPES, RECENT_GAPS_S = "item_ids", "event_types", "gaps_s"
REFUSED_ITEMS = "refused_items"
FILTERED_ITEMS, RESTING_ITEMS, RESTING_UNTIL = "filtered_items", "resting_items", "resting_until_us"
ITEM_LANGUAGE = "item_language"  # not `language`, which is the user's
FEATURE_TIME, KNOWN_TIME = "event_timestamp", "created_timestamp"
LABEL, BOUGHT, COMPLETED = "label", "bought", "completed"  # with RATING, the label columns of the training set
_WINDOWS_H = {"1h": 1, "1d": 24, "7d": 168, "30d": 720}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A feature of an entity; `kind` is one of `lodestar.schema.packed.KINDS`, `default` replaces a missing value.

    `description` is for readers of docs/reference/features.md; a count's follows from its window and types.
    """

    name: str
    kind: str
    unit: str = ""
    default: float | str | None = None
    pii: bool = False
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Windowed count feature: events of an entity, of some `types`, in the last `window_h` whole hours, log-scaled to 0–1.

    With `num_half_lives` it is a decayed count with half-life `window_h`: an event's weight halves every `window_h` hours, and is 0 after
    `num_half_lives` + 1 half-lives.
    """

    name: str
    window_h: int
    num_half_lives: int = 0
    types: frozenset[EventType] = POSITIVE
    kind: str = "f4"
    unit: str = "log of the count, as a share of the highest in training"
    default: float = 0.0
    pii: bool = False

    @property
    def weights(self) -> dict[int, int]:
        """Integer weights by window in hours: the (decayed) count is the weighted sum of plain counts over these windows."""
        windows = self.num_half_lives + 1
        return {self.window_h * number: 1 << max(0, windows - number - 1) for number in range(1, windows + 1)}


@dataclass(frozen=True, kw_only=True)
class View:
    """Feature view: features of one entity with a common timestamp; `accepts_push`: a stream may push rows to the online store."""

    name: str
    entity: str
    description: str
    features: tuple[Feature | Count, ...]
    accepts_push: bool = False

    @property
    def counts(self) -> tuple[Count, ...]:
        """The count features of the view, in order."""
        return tuple(feature for feature in self.features if isinstance(feature, Count))

    @property
    def count_names(self) -> tuple[str, ...]:
        """The names of the count features, in order."""
        return tuple(feature.name for feature in self.counts)


# A new count, or a column of the view's table, needs one line here and nothing else.
VIEWS = {
    view.name: view
    for view in (
        View(
            name=USER_PROFILE_VIEW,
            entity=USER_ID,
            description="User attributes.",
            features=(
                Feature(name=COUNTRY, kind="text", pii=True, description="country"),
                Feature(name=LANGUAGE, kind="text", pii=True, description="language of the user"),
                Feature(name=SEGMENTS, kind="texts", pii=True, description="segments"),
                Feature(name=INTERESTS, kind="texts", pii=True, description="interests"),
            ),
        ),
        View(
            name=USER_ACTIVITY_VIEW,
            entity=USER_ID,
            description="User activity: recent event counts, scaled to 0–1.",
            accepts_push=True,
            features=(
                *(Count(name=f"events_{span}", window_h=hours) for span, hours in _WINDOWS_H.items()),
                Count(name="events_decayed", window_h=_WINDOWS_H["1d"], num_half_lives=3),
            ),
        ),
        View(
            name=USER_SEQUENCE_VIEW,
            entity=USER_ID,
            description="User history: last items, oldest first, with event types and seconds since the previous item.",
            accepts_push=True,
            features=(
                Feature(name=RECENT_ITEMS, kind="texts", unit="ids", description="items of the history, oldest first"),
                Feature(name=RECENT_TYPES, kind="texts", description="event type of each"),
                Feature(name=RECENT_GAPS_S, kind="f4s", unit="s", description="time since the one before"),
                Feature(name=REFUSED_ITEMS, kind="texts", unit="ids", description="items that were refused last, oldest first"),
            ),
        ),
        View(
            name=USER_FILTER_VIEW,
            entity=USER_ID,
            description="Items that are not recommended to a user, by their number in the generation's catalogue, ascending.",
            features=(
                Feature(name=FILTERED_ITEMS, kind="bytes", unit="uint32", description="seen for good, or refused"),
                Feature(name=RESTING_ITEMS, kind="bytes", unit="uint32", description="seen, and to come again"),
                Feature(name=RESTING_UNTIL, kind="bytes", unit="int64, UTC µs", description="when each of those may come again"),
            ),
        ),
        View(
            name=ITEM_PROFILE_VIEW,
            entity=ITEM_ID,
            description="Item attributes from the catalogue.",
            features=(
                Feature(name=ITEM_TYPE, kind="text", description="type of the item"),
                Feature(name=TITLE, kind="text", description="title"),
                Feature(name=CATEGORY_PATH, kind="texts", description="categories, from the widest to the narrowest"),
                Feature(name=PRICE, kind="f8", unit="the item's currency", description="price"),
                Feature(name=ITEM_LANGUAGE, kind="text", description="language of the item"),
            ),
        ),
        View(
            name=ITEM_STATS_VIEW,
            entity=ITEM_ID,
            description="Item popularity: recent interaction counts, scaled to 0–1.",
            accepts_push=True,
            features=(
                *(Count(name=f"interactions_{span}", window_h=_WINDOWS_H[span]) for span in ("1d", "7d")),
                Count(name="interactions_decayed", window_h=_WINDOWS_H["7d"], num_half_lives=3),
            ),
        ),
        View(
            name=TEXT_EMBEDDING_VIEW,
            entity=ITEM_ID,
            description="Text embedding of the item, a vector of norm 1.",
            features=(
                Feature(name=TEXT_EMBEDDING, kind="f4s", description="the embedding"),
                Feature(name="text_encoder", kind="text", description="the encoder that made it"),
            ),
        ),
        View(
            name=IMAGE_EMBEDDING_VIEW,
            entity=ITEM_ID,
            description="Image embedding of the item, from the table item_content.",
            features=(
                Feature(name="image_embedding", kind="f4s", description="the embedding"),
                Feature(name="image_encoder", kind="text", description="the encoder that made it"),
            ),
        ),
        View(
            name=QUERY_STATS_VIEW,
            entity=QUERY,
            description="Query popularity: recent searches and conversions after them, scaled to 0–1.",
            accepts_push=True,
            features=(
                *(Count(name=f"searches_{span}", window_h=_WINDOWS_H[span], types=frozenset({EventType.SEARCH})) for span in ("1d", "7d")),
                Count(name="search_conversions_7d", window_h=_WINDOWS_H["7d"]),
            ),
        ),
    )
}
# Views that a model reads together, by feature service.
SERVICES = {
    RETRIEVAL_SERVICE: (USER_SEQUENCE_VIEW, USER_FILTER_VIEW),
    RANK_SERVICE: (USER_ACTIVITY_VIEW, ITEM_STATS_VIEW, CROSS_VIEW),
    SEARCH_SERVICE: (QUERY_STATS_VIEW, TEXT_EMBEDDING_VIEW, USER_ACTIVITY_VIEW, ITEM_STATS_VIEW, CROSS_VIEW),
}
COUNT_VIEWS = tuple(view for view in VIEWS.values() if view.counts)
DEFAULTS = {feature.name: feature.default for feature in chain.from_iterable(view.features for view in VIEWS.values())}


def query_key(text: str) -> str:
    """Normalised search text: equal for queries that differ only in case and white space."""
    return " ".join(text.casefold().split())
