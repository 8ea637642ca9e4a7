"""Event types: which there are, what each must carry, and which say that a user wanted an item."""

from enum import StrEnum

from lodestar.schema.columns import CURRENCY, DWELL_S, ITEM_ID, PROGRESS, QUERY_TEXT, RATING, TARGET_USER_ID, VALUE


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
