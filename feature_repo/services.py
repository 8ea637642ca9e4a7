"""Feast feature services, by version, from the declarations in `lodestar.schema.SERVICES`."""

from feast import FeatureService

from feature_repo import views
from lodestar import schema


def _service(name: str) -> FeatureService:
    return FeatureService(name=name, features=[getattr(views, view) for view in schema.SERVICES[name]])


retrieval, rank, search = map(_service, (schema.RETRIEVAL_SERVICE, schema.RANK_SERVICE, schema.SEARCH_SERVICE))
