"""Tables of the data contract with their columns, and the hash of the schema."""

import hashlib

from lodestar.schema.columns import *


def _required(name: str, kind: Kind, *choices: str) -> Column:
    return Column(name=name, kind=kind, required=True, choices=choices)


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
        _optional(SEGMENTS, Kind.TEXT_LIST),
        _optional(INTERESTS, Kind.TEXT_LIST),
        _optional(CONSENT_SOCIAL, Kind.BOOL),
        _optional(IS_MINOR, Kind.BOOL),
        _optional(ATTRS, Kind.STRING_MAP),
    ),
)

ITEMS = Table(
    name="items",
    key=(ITEM_ID,),
    columns=(
        _required(ITEM_ID, Kind.ID),
        _required(ITEM_TYPE, Kind.TEXT, "product", "ad", "article", "video", "post", "course", "lesson", "user"),
        _required(TITLE, Kind.TEXT),
        _required(CREATED_AT, Kind.TIME),
        _required(UPDATED_AT, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _required(IS_ACTIVE, Kind.BOOL),
        _optional(DESCRIPTION, Kind.TEXT),
        _optional(AVAILABLE_FROM, Kind.TIME),
        _optional(AVAILABLE_TO, Kind.TIME),
        _optional(CATEGORY_PATH, Kind.TEXT_LIST),
        _optional(TAGS, Kind.TEXT_LIST),
        _optional(CREATOR_ID, Kind.TEXT),
        Column(name=PRICE, kind=Kind.FLOAT, low=0.0),
        _optional(CURRENCY, Kind.TEXT),
        Column(name=STOCK, kind=Kind.INT, low=0),
        _optional(LANGUAGE, Kind.TEXT),
        Column(name=LEVEL, kind=Kind.INT, low=1, high=5),
        Column(name=DURATION_S, kind=Kind.FLOAT, low=0.0),
        _optional(AGE_RATING, Kind.TEXT),
        _optional(ATTRS, Kind.STRING_MAP),
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
        _optional(ATTRS, Kind.STRING_MAP),
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

ITEM_CONTENT = Table(
    name="item_content",
    key=(ITEM_ID, KIND, ENCODER),
    columns=(
        _required(ITEM_ID, Kind.ID),
        _required(KIND, Kind.TEXT, "text", "image", "audio", "video"),
        _required(ENCODER, Kind.TEXT),
        _required(ENCODER_VERSION, Kind.TEXT),
        Column(name=DIM, kind=Kind.INT, required=True, low=0),
        _required(CONTENT_HASH, Kind.TEXT),
        _required(INGESTED_AT, Kind.TIME),
        _optional(TEXT, Kind.TEXT),
        _optional(URI, Kind.TEXT),
        _optional(EMBEDDING, Kind.FLOAT_LIST),
    ),
)

RELATIONS = Table(
    name="relations",
    key=(SRC_ID, DST_ID, KIND),
    columns=(
        _required(SRC_ID, Kind.ID),
        _required(DST_ID, Kind.ID),
        _required(KIND, Kind.TEXT, "friend", "follow", "block", "mutes", "prerequisite", "part_of", "variant_of", "teaches"),
        _required(VALID_FROM, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _optional(VALID_TO, Kind.TIME),
        _optional(WEIGHT, Kind.FLOAT),
    ),
)

GOALS = Table(
    name="goals",
    key=(USER_ID, GOAL_ID),
    columns=(
        _required(USER_ID, Kind.ID),
        _required(GOAL_ID, Kind.ID),
        _required(INGESTED_AT, Kind.TIME),
        Column(name=HOURS_PER_WEEK, kind=Kind.FLOAT, low=0.0, high=168.0),
        _optional(DEADLINE, Kind.TIME),
        _optional(STATUS, Kind.TEXT),
    ),
)

ERASURES = Table(
    name="erasures",
    key=(USER_HASH, REQUESTED_AT),
    columns=(
        _required(USER_HASH, Kind.ID),
        _required(REQUESTED_AT, Kind.TIME),
        _required(INGESTED_AT, Kind.TIME),
        _required(SCOPE, Kind.TEXT),
        _required(STATUS, Kind.TEXT),
        _optional(RECEIPT_ID, Kind.TEXT),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (USERS, ITEMS, EVENTS, IMPRESSIONS, ITEM_CONTENT, RELATIONS, GOALS, ERASURES)}

HASH = hashlib.sha256(repr(tuple(TABLES.values())).encode()).hexdigest()[:16]
