"""Whom features describe."""

from feast import Entity, ValueType

from lodestar import schema

user = Entity(name=schema.USER_ENTITY, join_keys=[schema.USER_ID], value_type=ValueType.STRING, description="Who acts.")
item = Entity(name=schema.ITEM_ENTITY, join_keys=[schema.ITEM_ID], value_type=ValueType.STRING, description="What is acted upon.")
