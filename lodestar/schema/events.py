"""Event types, their required columns, and which are positive feedback."""

from enum import StrEnum

from lodestar.schema.columns import CURRENCY, DWELL_S, ITEM_ID, PROGRESS, QUERY_TEXT, RATING, TARGET_USER_ID, VALUE


class EventType(StrEnum):
    """Type of a user event, the values of the column `event_type`."""

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


_ITEM_EVENTS = (
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
_SOCIAL_EVENTS = (EventType.FOLLOW, EventType.FRIEND_REQUEST, EventType.FRIEND_ACCEPT, EventType.BLOCK)

# Required columns by event type, in addition to those of every event.
REQUIRED_COLUMNS: dict[EventType, tuple[str, ...]] = {
    **dict.fromkeys(_ITEM_EVENTS, (ITEM_ID,)),
    **dict.fromkeys(_SOCIAL_EVENTS, (TARGET_USER_ID,)),
    EventType.SEARCH: (QUERY_TEXT,),
    EventType.ADD_TO_CART: (ITEM_ID, VALUE, CURRENCY),
    EventType.PURCHASE: (ITEM_ID, VALUE, CURRENCY),
    EventType.RATING: (ITEM_ID, RATING),
    EventType.PROGRESS: (ITEM_ID, PROGRESS),
    EventType.DWELL: (ITEM_ID, DWELL_S),
    EventType.PLAY: (ITEM_ID, DWELL_S),
}

# Positive feedback: event types that sequences and labels are made of.
POSITIVE = frozenset(REQUIRED_COLUMNS) - {EventType.SEARCH, EventType.HIDE, *_SOCIAL_EVENTS}
