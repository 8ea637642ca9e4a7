"""Whom features describe."""

from feast import Entity, ValueType

from lodestar import schema

MEANINGS = {schema.USER_ID: "Who acts.", schema.ITEM_ID: "What is acted upon.", schema.QUERY: "What is searched for."}


def _entity(key: str) -> Entity:
    return Entity(name=schema.ENTITIES[key], join_keys=[key], value_type=ValueType.STRING, description=MEANINGS[key])


user, item, query = _entity(schema.USER_ID), _entity(schema.ITEM_ID), _entity(schema.QUERY)
BY_KEY = {schema.USER_ID: user, schema.ITEM_ID: item, schema.QUERY: query}
