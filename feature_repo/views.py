"""Feast feature views of users, items and queries, from the declarations in `lodestar.schema.VIEWS`.

A row is valid until the next one: a count's table has a row at the hour when it falls again, so no TTL is needed, and an online read
equals an as-of join.
"""

from datetime import timedelta

from feast import FeatureView, Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32

from feature_repo import entities, push, sources
from feature_repo.stores.row_codec import KINDS
from lodestar import schema
from lodestar.schema import crosses

TYPES = {kind: dtype for dtype, (kind, _) in KINDS.items()}


def _view(name: str) -> FeatureView:
    view = schema.VIEWS[name]
    return FeatureView(
        name=name,
        entities=[entities.BY_KEY[view.entity]],
        ttl=timedelta(0),
        schema=[Field(name=feature.name, dtype=TYPES[feature.kind], tags=_tags(feature)) for feature in view.features],
        source=push.source(name) if view.accepts_push else sources.table(name),
        description=view.description,
    )


def _tags(feature: schema.Feature | schema.Count) -> dict[str, str]:
    tags = {"unit": feature.unit, "default": "" if feature.default is None else str(feature.default), "pii": "pii" if feature.pii else ""}
    return {name: value for name, value in tags.items() if value}


user_profile = _view(schema.USER_PROFILE_VIEW)
user_activity = _view(schema.USER_ACTIVITY_VIEW)
user_sequence = _view(schema.USER_SEQUENCE_VIEW)
user_filter = _view(schema.USER_FILTER_VIEW)
item_profile = _view(schema.ITEM_PROFILE_VIEW)
item_stats = _view(schema.ITEM_STATS_VIEW)
item_text_embedding = _view(schema.TEXT_EMBEDDING_VIEW)
item_image_embedding = _view(schema.IMAGE_EMBEDDING_VIEW)
query_stats = _view(schema.QUERY_STATS_VIEW)


@on_demand_feature_view(
    sources=[user_activity, item_stats, user_profile, item_profile],
    schema=[Field(name=name, dtype=Float32) for name in crosses.NAMES],
    description="Crosses of user and item features, computed on demand.",
)
def user_item_cross(rows):  # type: ignore[no-untyped-def]  # Feast stores the source and runs it without this file's imports
    """The crosses of (user, item) pairs, one a row."""
    from lodestar.schema.crosses import of_rows

    return of_rows(rows)
