"""Names and texts as SQL."""

from typing import Any


def quoted(name: str) -> str:
    """A column name as an SQL identifier."""
    return f'"{name}"'


def texts(values: Any) -> str:
    """Values as SQL string literals, separated by commas."""
    return ", ".join("'" + str(value).replace("'", "''") + "'" for value in values)
