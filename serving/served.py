"""An answer, and what it was made from: a row of the proof log, to be compared with what history gives (`lodestar features prove`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

from lodestar import schema
from lodestar.engine.recommender import Recommendation
from lodestar.schema import pairs
from serving.features import Recent
from serving.packed import Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One list, best first; `retriever` says whether it was made for the user or for anyone."""

    request_id: str
    user: str
    retriever: str
    places: list[Recommendation]


class Counted(NamedTuple):
    """What is counted of who asks, one row, and of candidates, in rows that `row` names by item."""

    of_user: Numbers
    row: Mapping[str, int]
    of_items: Numbers

    def numbers(self) -> pairs.Floats:
        """What the ranker is given, [candidates, numbers]."""
        return pairs.numbers(self.of_user.values, self.of_items.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What the store gave for one answer, of which feature generation; of items it tells of those that were shown."""

    answer: Answer
    generation: str
    history: Recent
    counted: Counted | None

    def row(self) -> bytes:
        """A JSON line."""
        fields: dict[str, Any] = {
            schema.REQUEST_ID: self.answer.request_id,
            schema.USER_ID: self.answer.user,
            schema.SHOWN_AT: datetime.now(UTC).isoformat(timespec="microseconds"),
            schema.FEATURE_GENERATION: self.generation,
            schema.KNOWN_US: self.history.known_us,
            schema.RECENT_ITEMS: self.history.items,
        }
        if self.history.gaps_s:
            fields[schema.RECENT_GAPS_S] = self.history.gaps_s
        if self.counted is not None:
            fields[schema.COUNTS] = list(self._counts(self.counted))
        return orjson.dumps(fields) + b"\n"

    def _counts(self, counted: Counted) -> Iterator[tuple[str, str, int, list[float]]]:
        """View, entity, when its row became known, and its counts."""
        yield schema.USER_ACTIVITY_VIEW, self.answer.user, *_told(counted.of_user, 0)
        for place in self.answer.places:
            if place.item_id in counted.row:
                yield schema.ITEM_STATS_VIEW, place.item_id, *_told(counted.of_items, counted.row[place.item_id])


def _told(numbers: Numbers, row: int) -> tuple[int, list[float]]:
    return int(numbers.known_us[row]), np.nan_to_num(numbers.values[row]).tolist()
