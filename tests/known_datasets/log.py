"""A log that all the small files tell: 20 users with 10 events each, with 30 items, and how files are written."""

import gzip
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

USERS, EVENTS_EACH, ITEMS = 20, 10, 30
EVENTS = USERS * EVENTS_EACH
START_S, DAY_S = 1_300_000_000, 86_400
USER, ITEM, RATED = range(USERS), range(ITEMS), range(1, 6)


class Event(NamedTuple):
    """An event: numbers of its user and item, its place among the user's, its rating from 1 to 5, and seconds since 1970."""

    user: int
    item: int
    place: int
    rating: int
    time_s: int

    @property
    def at(self) -> datetime:
        """The time of the event in UTC."""
        return datetime.fromtimestamp(self.time_s, UTC)


def events() -> Iterator[Event]:
    """The log, user by user; each user has other items, and no item twice."""
    for user in USER:
        for place in range(EVENTS_EACH):
            item = (user * 7 + place * 11) % ITEMS
            yield Event(user=user, item=item, place=place, rating=(user + place) % 5 + 1, time_s=START_S + place * DAY_S + user * 977)


def lines(*texts: Iterable[str]) -> str:
    """Texts as lines."""
    return "".join(f"{text}\n" for some in texts for text in some)


def objects(rows: Iterable[Any]) -> str:
    """Rows as a JSON object a line."""
    return lines(json.dumps(row, ensure_ascii=False) for row in rows)


def python_literals(rows: Iterable[Any]) -> str:
    """Rows as a Python dictionary a line."""
    return lines(repr(row) for row in rows)


def write(path: Path, content: str, encoding: str = "utf8") -> None:
    """Write a text, packed where the name ends with .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode(encoding)
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)
