"""The proof log: of each answer what it was made from, so that it can be compared with what history gives (`lodestar features prove`)."""

from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from lodestar import schema
from serving.features import Recent


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What the store gave for one answer."""

    request_id: str
    user: str
    history: Recent

    def row(self) -> bytes:
        """A JSON line."""
        fields = {
            schema.REQUEST_ID: self.request_id,
            schema.USER_ID: self.user,
            schema.SHOWN_AT: datetime.now(UTC).isoformat(timespec="microseconds"),
            schema.KNOWN_US: self.history.known_us,
            schema.RECENT_ITEMS: self.history.items,
        }
        return orjson.dumps(fields) + b"\n"
