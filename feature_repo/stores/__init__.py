"""Feast plug-ins: the offline store with the as-of join, online stores of packed rows in SQLite and Redis, the batch engine."""
