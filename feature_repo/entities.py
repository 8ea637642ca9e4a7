"""Feast entities: user, item and query."""

from feast import Entity, ValueType

from lodestar import schema

DESCRIPTIONS = {schema.USER_ID: "A user.", schema.ITEM_ID: "An item of the catalogue.", schema.QUERY: "A search query."}


def _entity(key: str) -> Entity:
    return Entity(name=schema.ENTITIES[key], join_keys=[key], value_type=ValueType.STRING, description=DESCRIPTIONS[key])


user, item, query = _entity(schema.USER_ID), _entity(schema.ITEM_ID), _entity(schema.QUERY)
BY_KEY = {schema.USER_ID: user, schema.ITEM_ID: item, schema.QUERY: query}
