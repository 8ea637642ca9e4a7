"""What a model may ask for, by version: retrieval reads sequences, ranking reads numbers."""

from feast import FeatureService

from feature_repo import views
from lodestar import schema

retrieval = FeatureService(name=schema.RETRIEVAL_SERVICE, features=[views.user_sequence])
rank = FeatureService(name=schema.RANK_SERVICE, features=[views.user_activity, views.item_stats])
