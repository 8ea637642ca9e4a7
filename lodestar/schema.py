"""The data contract's names: tables, columns, event types and features, each spelled here and nowhere else.

Ids are strings of 1–128 bytes, times are UTC microseconds, and every table carries `ingested_at`: when a row became known.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

USER_ID = "user_id"
ITEM_ID = "item_id"
SESSION_ID = "session_id"
REQUEST_ID = "request_id"
QUERY_ID = "query_id"
QUERY_TEXT = "query_text"
EVENT_ID = "event_id"
EVENT_TYPE = "event_type"
EVENT_TIME = "event_time"
TARGET_USER_ID = "target_user_id"
POSITION = "position"
SURFACE = "surface"
DEVICE = "device"
VALUE = "value"
CURRENCY = "currency"
RATING = "rating"
DWELL_S = "dwell_s"
PROGRESS = "progress"
SOURCE = "source"
INGESTED_AT = "ingested_at"
CREATED_AT = "created_at"
UPDATED_AT = "updated_at"
COUNTRY = "country"
LANGUAGE = "language"
BIRTH_YEAR = "birth_year"
SEGMENTS = "segments"
INTERESTS = "interests"
CONSENT_PERSONALISE = "consent_personalise"
CONSENT_SOCIAL = "consent_social"
IS_MINOR = "is_minor"
ITEM_TYPE = "item_type"
TITLE = "title"
DESCRIPTION = "description"
AVAILABLE_FROM = "available_from"
AVAILABLE_TO = "available_to"
IS_ACTIVE = "is_active"
CATEGORY_PATH = "category_path"
TAGS = "tags"
CREATOR_ID = "creator_id"
PRICE = "price"
STOCK = "stock"
LEVEL = "level"
DURATION_S = "duration_s"
AGE_RATING = "age_rating"
SHOWN_AT = "shown_at"
MODEL_DIGEST = "model_digest"
ARM = "arm"
PROPENSITY = "propensity"
SCORE = "score"
RETRIEVER = "retriever"
FEATURE_HASH = "feature_hash"
IS_SPONSORED = "is_sponsored"

MAX_ID_BYTES = 128
MAX_HISTORY = 200
RATING_SCALE = (1.0, 5.0)


class Kind(StrEnum):
    """The type of a column's values."""

    ID = "id"
    TEXT = "text"
    TIME = "time"
    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    TEXTS = "texts"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; `low` and `high` are inclusive bounds, `pii` marks what identifies a person."""

    name: str
    kind: Kind
    required: bool = False
    low: float | None = None
    high: float | None = None
    pii: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the contract: its key and its columns, in order."""

    name: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns if column.required)


def _required(name: str, kind: Kind) -> Column:
    return Column(name=name, kind=kind, required=True)


def _optional(name: str, kind: Kind) -> Column:
    return Column(name=name, kind=kind)


USERS = Table(
    name="users",
    key=(USER_ID,),
    columns=(
        _required(USER_ID, Kind.ID),
        _required(CREATED_AT, Kind.TIME),
        _required(UPDATED_AT, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _required(CONSENT_PERSONALISE, Kind.BOOL),
        _optional(COUNTRY, Kind.TEXT),
        _optional(LANGUAGE, Kind.TEXT),
        Column(name=BIRTH_YEAR, kind=Kind.INT, low=1900, high=2100, pii=True),
        _optional(SEGMENTS, Kind.TEXTS),
        _optional(INTERESTS, Kind.TEXTS),
        _optional(CONSENT_SOCIAL, Kind.BOOL),
        _optional(IS_MINOR, Kind.BOOL),
    ),
)

ITEMS = Table(
    name="items",
    key=(ITEM_ID,),
    columns=(
        _required(ITEM_ID, Kind.ID),
        _required(ITEM_TYPE, Kind.TEXT),
        _required(TITLE, Kind.TEXT),
        _required(CREATED_AT, Kind.TIME),
        _required(UPDATED_AT, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _required(IS_ACTIVE, Kind.BOOL),
        _optional(DESCRIPTION, Kind.TEXT),
        _optional(AVAILABLE_FROM, Kind.TIME),
        _optional(AVAILABLE_TO, Kind.TIME),
        _optional(CATEGORY_PATH, Kind.TEXTS),
        _optional(TAGS, Kind.TEXTS),
        _optional(CREATOR_ID, Kind.TEXT),
        Column(name=PRICE, kind=Kind.FLOAT, low=0.0),
        _optional(CURRENCY, Kind.TEXT),
        Column(name=STOCK, kind=Kind.INT, low=0),
        _optional(LANGUAGE, Kind.TEXT),
        Column(name=LEVEL, kind=Kind.INT, low=1, high=5),
        Column(name=DURATION_S, kind=Kind.FLOAT, low=0.0),
        _optional(AGE_RATING, Kind.TEXT),
    ),
)

EVENTS = Table(
    name="events",
    key=(EVENT_ID,),
    columns=(
        _required(EVENT_ID, Kind.ID),
        _required(USER_ID, Kind.ID),
        _required(EVENT_TYPE, Kind.TEXT),
        _required(EVENT_TIME, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _optional(ITEM_ID, Kind.ID),
        _optional(SESSION_ID, Kind.TEXT),
        _optional(TARGET_USER_ID, Kind.TEXT),
        _optional(QUERY_ID, Kind.TEXT),
        _optional(QUERY_TEXT, Kind.TEXT),
        _optional(REQUEST_ID, Kind.TEXT),
        Column(name=POSITION, kind=Kind.INT, low=0),
        _optional(SURFACE, Kind.TEXT),
        _optional(DEVICE, Kind.TEXT),
        _optional(VALUE, Kind.FLOAT),
        _optional(CURRENCY, Kind.TEXT),
        Column(name=RATING, kind=Kind.FLOAT, low=RATING_SCALE[0], high=RATING_SCALE[1]),
        Column(name=DWELL_S, kind=Kind.FLOAT, low=0.0),
        Column(name=PROGRESS, kind=Kind.FLOAT, low=0.0, high=1.0),
        _optional(SOURCE, Kind.TEXT),
    ),
)

IMPRESSIONS = Table(
    name="impressions",
    key=(REQUEST_ID, POSITION),
    columns=(
        _required(REQUEST_ID, Kind.ID),
        _required(USER_ID, Kind.ID),
        _required(ITEM_ID, Kind.ID),
        Column(name=POSITION, kind=Kind.INT, required=True, low=0),
        _required(SHOWN_AT, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _required(SURFACE, Kind.TEXT),
        _required(MODEL_DIGEST, Kind.TEXT),
        _required(ARM, Kind.TEXT),
        Column(name=PROPENSITY, kind=Kind.FLOAT, required=True, low=0.0, high=1.0),
        _required(FEATURE_HASH, Kind.TEXT),
        _optional(SESSION_ID, Kind.TEXT),
        _optional(QUERY_TEXT, Kind.TEXT),
        _optional(SCORE, Kind.FLOAT),
        _optional(RETRIEVER, Kind.TEXT),
        _optional(IS_SPONSORED, Kind.BOOL),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (USERS, ITEMS, EVENTS, IMPRESSIONS)}


class EventType(StrEnum):
    VIEW = "view"
    CLICK = "click"
    SEARCH = "search"
    ADD_TO_CART = "add_to_cart"
    PURCHASE = "purchase"
    RATING = "rating"
    LIKE = "like"
    SHARE = "share"
    COMMENT = "comment"
    HIDE = "hide"
    FOLLOW = "follow"
    FRIEND_REQUEST = "friend_request"
    FRIEND_ACCEPT = "friend_accept"
    BLOCK = "block"
    ENROL = "enrol"
    PROGRESS = "progress"
    COMPLETE = "complete"
    QUIZ = "quiz"
    DWELL = "dwell"
    PLAY = "play"


_ABOUT_AN_ITEM = (
    EventType.VIEW,
    EventType.CLICK,
    EventType.LIKE,
    EventType.SHARE,
    EventType.COMMENT,
    EventType.HIDE,
    EventType.ENROL,
    EventType.COMPLETE,
    EventType.QUIZ,
)
_ABOUT_A_PERSON = (EventType.FOLLOW, EventType.FRIEND_REQUEST, EventType.FRIEND_ACCEPT, EventType.BLOCK)

# What an event of a type must carry beside the columns that every event has.
NEEDS: dict[EventType, tuple[str, ...]] = {
    **dict.fromkeys(_ABOUT_AN_ITEM, (ITEM_ID,)),
    **dict.fromkeys(_ABOUT_A_PERSON, (TARGET_USER_ID,)),
    EventType.SEARCH: (QUERY_TEXT,),
    EventType.ADD_TO_CART: (ITEM_ID, VALUE, CURRENCY),
    EventType.PURCHASE: (ITEM_ID, VALUE, CURRENCY),
    EventType.RATING: (ITEM_ID, RATING),
    EventType.PROGRESS: (ITEM_ID, PROGRESS),
    EventType.DWELL: (ITEM_ID, DWELL_S),
    EventType.PLAY: (ITEM_ID, DWELL_S),
}

# Event types that say a user wanted an item: what sequences and labels are made of.
POSITIVE = frozenset(NEEDS) - {EventType.SEARCH, EventType.HIDE, *_ABOUT_A_PERSON}

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

HASH = hashlib.sha256(repr(tuple(TABLES.values())).encode()).hexdigest()[:16]
