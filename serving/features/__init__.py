"""Clients of the online feature store."""
