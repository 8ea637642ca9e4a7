"""Tables of the data contract with their columns, and the hash of the schema."""

import hashlib

from lodestar.schema.columns import *


def _required(name: str, kind: Kind, description: str, *choices: str) -> Column:
    return Column(name=name, kind=kind, description=description, required=True, choices=choices)


def _optional(name: str, kind: Kind, description: str) -> Column:
    return Column(name=name, kind=kind, description=description)


_INGESTED_AT = _required(INGESTED_AT, Kind.TIME, "when the row became known; a point-in-time join takes no row from before it was known")
_ATTRS = _optional(ATTRS, Kind.STRING_MAP, "further attributes by name")


USERS = Table(
    name="users",
    description="A user: profile and consent.",
    key=(USER_ID,),
    columns=(
        _required(USER_ID, Kind.ID, "the user"),
        _required(CREATED_AT, Kind.TIME, "when the account began"),
        _required(UPDATED_AT, Kind.TIME, "last change; of two rows of a user the later is kept"),
        _INGESTED_AT,
        _required(CONSENT_PERSONALISE, Kind.BOOL, "whether the user agrees to personalised recommendations"),
        _optional(COUNTRY, Kind.TEXT, "country, such as DE"),
        _optional(LANGUAGE, Kind.TEXT, "language, such as de"),
        Column(name=BIRTH_YEAR, kind=Kind.INT, low=1900, high=2100, pii=True, description="year of birth"),
        _optional(SEGMENTS, Kind.TEXT_LIST, "segments that the user belongs to"),
        _optional(INTERESTS, Kind.TEXT_LIST, "interests that the user states"),
        _optional(CONSENT_SOCIAL, Kind.BOOL, "whether the user agrees to social features"),
        _optional(IS_MINOR, Kind.BOOL, "whether the user is a minor"),
        _ATTRS,
    ),
)

ITEMS = Table(
    name="items",
    description="An item of the catalogue.",
    key=(ITEM_ID,),
    columns=(
        _required(ITEM_ID, Kind.ID, "the item"),
        _required(ITEM_TYPE, Kind.TEXT, "type of the item", "product", "ad", "article", "video", "post", "course", "lesson", "user"),
        _required(TITLE, Kind.TEXT, "title, as it is shown"),
        _required(CREATED_AT, Kind.TIME, "when the item began"),
        _required(UPDATED_AT, Kind.TIME, "last change; of two rows of an item the later is kept"),
        _INGESTED_AT,
        _required(IS_ACTIVE, Kind.BOOL, "whether the item is offered"),
        _optional(DESCRIPTION, Kind.TEXT, "description, a longer text"),
        _optional(AVAILABLE_FROM, Kind.TIME, "start of availability"),
        _optional(AVAILABLE_TO, Kind.TIME, "end of availability"),
        _optional(CATEGORY_PATH, Kind.TEXT_LIST, "categories, from the widest to the narrowest"),
        _optional(TAGS, Kind.TEXT_LIST, "tags"),
        _optional(CREATOR_ID, Kind.TEXT, "author, artist, brand or seller"),
        Column(name=PRICE, kind=Kind.FLOAT, low=0.0, description="price in `currency`"),
        _optional(CURRENCY, Kind.TEXT, "currency, such as EUR"),
        Column(name=STOCK, kind=Kind.INT, low=0, description="pieces in stock"),
        _optional(LANGUAGE, Kind.TEXT, "language of the item, such as de"),
        Column(name=LEVEL, kind=Kind.INT, low=1, high=5, description="level of difficulty"),
        Column(name=DURATION_S, kind=Kind.FLOAT, low=0.0, description="duration in seconds"),
        _optional(AGE_RATING, Kind.TEXT, "age rating, such as 12"),
        _ATTRS,
    ),
)

EVENTS = Table(
    name="events",
    description="An interaction of a user: what was done with which item, and when.",
    key=(EVENT_ID,),
    columns=(
        _required(EVENT_ID, Kind.ID, "the event; the same id again is the same event"),
        _required(USER_ID, Kind.ID, "who acted"),
        _required(EVENT_TYPE, Kind.TEXT, "type of the event, one of those below"),
        _required(EVENT_TIME, Kind.TIME, "when it happened"),
        _INGESTED_AT,
        _optional(ITEM_ID, Kind.ID, "item that the event is about; a file of searches or follows alone needs the column as well, empty"),
        _optional(SESSION_ID, Kind.TEXT, "session; stands for the user where there is none"),
        _optional(TARGET_USER_ID, Kind.TEXT, "user that a social event is about"),
        _optional(QUERY_ID, Kind.TEXT, "search that the event belongs to"),
        _optional(QUERY_TEXT, Kind.TEXT, "text of the search"),
        _optional(REQUEST_ID, Kind.TEXT, "request whose list showed the item, to attribute the event to its impression"),
        Column(name=POSITION, kind=Kind.INT, low=0, description="position in that list; ours are numbered from 1, others may begin with 0"),
        _optional(SURFACE, Kind.TEXT, "surface, such as home or search"),
        _optional(DEVICE, Kind.TEXT, "device, such as phone"),
        _optional(VALUE, Kind.FLOAT, "value in `currency`"),
        _optional(CURRENCY, Kind.TEXT, "currency of `value`, such as EUR"),
        Column(name=RATING, kind=Kind.FLOAT, low=RATING_SCALE[0], high=RATING_SCALE[1], description="rating of the item"),
        Column(name=DWELL_S, kind=Kind.FLOAT, low=0.0, description="seconds on the item"),
        Column(name=PROGRESS, kind=Kind.FLOAT, low=0.0, high=1.0, description="share of the item that was completed"),
        _optional(SOURCE, Kind.TEXT, "system that sent the event"),
        _ATTRS,
    ),
)

IMPRESSIONS = Table(
    name="impressions",
    description="An item in a list that a user was shown, as `lodestar serve --impressions` logs it.",
    key=(REQUEST_ID, POSITION),
    columns=(
        _required(REQUEST_ID, Kind.ID, "the request"),
        _required(USER_ID, Kind.ID, "who was shown the list"),
        _required(ITEM_ID, Kind.ID, "the item"),
        Column(
            name=POSITION,
            kind=Kind.INT,
            required=True,
            low=0,
            description="position in the list; ours are numbered from 1, others may begin with 0",
        ),
        _required(SHOWN_AT, Kind.TIME, "when it was shown"),
        _INGESTED_AT,
        _required(SURFACE, Kind.TEXT, "surface, such as home or search"),
        _required(MODEL_DIGEST, Kind.TEXT, "digest of the bundle that made the list"),
        _required(ARM, Kind.TEXT, "arm of the canary rollout, such as control"),
        Column(name=PROPENSITY, kind=Kind.FLOAT, required=True, low=0.0, high=1.0, description="probability with which the item was shown"),
        _required(FEATURE_HASH, Kind.TEXT, "hash of the features that the list was made from"),
        _optional(SESSION_ID, Kind.TEXT, "session; stands for the user where there is none"),
        _optional(QUERY_TEXT, Kind.TEXT, "text of the search"),
        _optional(SCORE, Kind.FLOAT, "score of the model"),
        _optional(RETRIEVER, Kind.TEXT, "retriever that proposed the item"),
        _optional(IS_SPONSORED, Kind.BOOL, "whether the item is an advertisement"),
    ),
)

ITEM_CONTENT = Table(
    name="item_content",
    description="Text, image, audio or video of an item, with its embedding by one encoder.",
    key=(ITEM_ID, KIND, ENCODER),
    columns=(
        _required(ITEM_ID, Kind.ID, "the item"),
        _required(KIND, Kind.TEXT, "kind of content", "text", "image", "audio", "video"),
        _required(ENCODER, Kind.TEXT, "encoder that made the embedding"),
        _required(ENCODER_VERSION, Kind.TEXT, "version of the encoder; all embeddings of one version have one dimension"),
        Column(name=DIM, kind=Kind.INT, required=True, low=0, description="dimension of the embedding"),
        _required(CONTENT_HASH, Kind.TEXT, "hash of the content"),
        _INGESTED_AT,
        _optional(TEXT, Kind.TEXT, "the text"),
        _optional(URI, Kind.TEXT, "address of the content"),
        _optional(EMBEDDING, Kind.FLOAT_LIST, "the embedding"),
    ),
)

RELATIONS = Table(
    name="relations",
    description="A relation between two users, or between two items.",
    key=(SRC_ID, DST_ID, KIND),
    columns=(
        _required(SRC_ID, Kind.ID, "from whom or what"),
        _required(DST_ID, Kind.ID, "to whom or what"),
        _required(
            KIND, Kind.TEXT, "kind of relation", "friend", "follow", "block", "mutes", "prerequisite", "part_of", "variant_of", "teaches"
        ),
        _required(VALID_FROM, Kind.TIME, "since when it holds"),
        _INGESTED_AT,
        _optional(VALID_TO, Kind.TIME, "until when it holds"),
        _optional(WEIGHT, Kind.FLOAT, "strength of the relation"),
    ),
)

GOALS = Table(
    name="goals",
    description="A learning goal of a user.",
    key=(USER_ID, GOAL_ID),
    columns=(
        _required(USER_ID, Kind.ID, "the user"),
        _required(GOAL_ID, Kind.ID, "the goal"),
        _INGESTED_AT,
        Column(name=HOURS_PER_WEEK, kind=Kind.FLOAT, low=0.0, high=168.0, description="hours that the user has for it in a week"),
        _optional(DEADLINE, Kind.TIME, "when it is to be reached"),
        _optional(STATUS, Kind.TEXT, "state of the goal, such as open"),
    ),
)

ERASURES = Table(
    name="erasures",
    description="A request to erase the data of a user, without the user's id.",
    key=(USER_HASH, REQUESTED_AT),
    columns=(
        _required(USER_HASH, Kind.ID, "keyed hash of the user's id"),
        _required(REQUESTED_AT, Kind.TIME, "when it was requested"),
        _INGESTED_AT,
        _required(SCOPE, Kind.TEXT, "data that are to be erased"),
        _required(STATUS, Kind.TEXT, "state of the request"),
        _optional(RECEIPT_ID, Kind.TEXT, "receipt of the erasure"),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in (USERS, ITEMS, EVENTS, IMPRESSIONS, ITEM_CONTENT, RELATIONS, GOALS, ERASURES)}

HASH = hashlib.sha256(repr(tuple(TABLES.values())).encode()).hexdigest()[:16]
