"""Feast repository: entities, sources, feature views and services, generated from `lodestar.schema`."""
