"""Column names of the data contract, their types and bounds."""

from dataclasses import dataclass, field
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
KNOWN_US = "known_us"
COUNTS = "counts"
FEATURE_GENERATION = "feature_generation"  # generation of the features that a response was computed from
IS_SPONSORED = "is_sponsored"
ATTRS = "attrs"
KIND = "kind"
TEXT = "text"
URI = "uri"
EMBEDDING = "embedding"
DIM = "dim"
ENCODER = "encoder"
ENCODER_VERSION = "encoder_version"
CONTENT_HASH = "content_hash"
SRC_ID = "src_id"
DST_ID = "dst_id"
WEIGHT = "weight"
VALID_FROM = "valid_from"
VALID_TO = "valid_to"
GOAL_ID = "goal_id"
HOURS_PER_WEEK = "hours_per_week"
DEADLINE = "deadline"
STATUS = "status"
USER_HASH = "user_hash"
REQUESTED_AT = "requested_at"
SCOPE = "scope"
RECEIPT_ID = "receipt_id"

MAX_ID_BYTES = 128
MAX_HISTORY = 200
RATING_SCALE = (1.0, 5.0)


class Kind(StrEnum):
    """Type of a column's values."""

    ID = "id"
    TEXT = "text"
    TIME = "time"
    FLOAT = "float"
    INT = "int"
    BOOL = "bool"
    TEXT_LIST = "text_list"
    FLOAT_LIST = "float_list"
    STRING_MAP = "string_map"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: type, inclusive bounds `low` and `high`, allowed values (`choices`), and whether it is personal data (`pii`).

    `description` is for readers of docs/reference/tables.md, and no part of the schema's hash.
    """

    name: str
    kind: Kind
    description: str = field(default="", repr=False)
    required: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pii: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the data contract: name, what a row of it is, primary key and columns in order."""

    name: str
    description: str = field(repr=False)
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of a name; raises StopIteration if there is none."""
        return next(column for column in self.columns if column.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the columns that must not be null."""
        return tuple(column.name for column in self.columns if column.required)
