"""What a model may ask for, by version: retrieval reads sequences, ranking reads numbers, search what is known of the query beside them."""

from feast import FeatureService

from feature_repo import views
from lodestar import schema

_RANKED = [views.user_activity, views.item_stats, views.user_item_cross]
retrieval = FeatureService(name=schema.RETRIEVAL_SERVICE, features=[views.user_sequence])
rank = FeatureService(name=schema.RANK_SERVICE, features=_RANKED)
search = FeatureService(name=schema.SEARCH_SERVICE, features=[views.query_stats, views.item_text_embedding, *_RANKED])
