"""What is known of a user and of an item, and since when.

A row holds until the next one: a count's table has a row at the hour when it falls again, so no time to live is needed, and what is read
online is what an as-of join finds.
"""

from datetime import timedelta

from feast import Entity, FeatureView, Field
from feast.types import Array, FeastType, Float32, Float64, String

from feature_repo import entities, push, sources
from lodestar import schema


def _view(name: str, entity: Entity, fields: dict[str, FeastType], meaning: str) -> FeatureView:
    return FeatureView(
        name=name,
        entities=[entity],
        ttl=timedelta(0),
        schema=[Field(name=field, dtype=kind) for field, kind in fields.items()],
        source=push.source(name) if name in push.STREAMED else sources.table(name),
        description=meaning,
    )


def _counts(view: str) -> dict[str, FeastType]:
    return {feature.name: Float32 for feature in schema.WINDOWED if feature.view == view}


user_profile = _view(
    schema.USER_PROFILE_VIEW,
    entities.user,
    {schema.COUNTRY: String, schema.LANGUAGE: String, schema.SEGMENTS: Array(String)},
    "What the user's record says.",
)
user_activity = _view(
    schema.USER_ACTIVITY_VIEW,
    entities.user,
    _counts(schema.USER_ACTIVITY_VIEW),
    "How much the user did of late, 0–1.",
)
user_sequence = _view(
    schema.USER_SEQUENCE_VIEW,
    entities.user,
    {schema.RECENT_ITEMS: Array(String), schema.RECENT_TYPES: Array(String), schema.RECENT_GAPS_S: Array(Float32)},
    "The user's last items, oldest first, with event types and seconds since the one before.",
)
item_profile = _view(
    schema.ITEM_PROFILE_VIEW,
    entities.item,
    {schema.ITEM_TYPE: String, schema.TITLE: String, schema.CATEGORY_PATH: Array(String), schema.PRICE: Float64},
    "What the catalogue says.",
)
item_stats = _view(
    schema.ITEM_STATS_VIEW,
    entities.item,
    _counts(schema.ITEM_STATS_VIEW),
    "How much the item was taken of late, 0–1.",
)
