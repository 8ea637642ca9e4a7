"""Feature services, by version: retrieval reads sequences, ranking counts and crosses, search also query counts and text embeddings."""

from feast import FeatureService

from feature_repo import views
from lodestar import schema

_RANK_VIEWS = [views.user_activity, views.item_stats, views.user_item_cross]
retrieval = FeatureService(name=schema.RETRIEVAL_SERVICE, features=[views.user_sequence])
rank = FeatureService(name=schema.RANK_SERVICE, features=_RANK_VIEWS)
search = FeatureService(name=schema.SEARCH_SERVICE, features=[views.query_stats, views.item_text_embedding, *_RANK_VIEWS])
