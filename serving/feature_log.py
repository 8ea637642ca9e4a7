"""The feature log: the features of each response, which `lodestar features skew-test` checks for training-serving skew."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson

from lodestar import schema
from lodestar.engine.recommender import Recommendation
from lodestar.schema import ranker_inputs
from lodestar.schema.arrays import Float32, Floats
from serving.features.packed_reader import Numbers
from serving.features.user_history import UserHistory


@dataclass(frozen=True, kw_only=True, slots=True)
class RecommendResponse:
    """One recommendation list, best first; `retriever` names its source: the model or the cold-start popularity list."""

    request_id: str
    user: str
    retriever: str
    items: list[Recommendation]


class RankerCounts(NamedTuple):
    """Count features of the user, one row, and of candidate items; `row_of` maps an item id to its row of `item_counts`."""

    user_counts: Numbers
    row_of: Mapping[str, int]
    item_counts: Numbers

    def pair_features(self) -> Float32[Floats, "candidates features"]:
        """The ranker's input features, float32 [candidates, features]."""
        return ranker_inputs.pair_features(self.user_counts.values, self.item_counts.values)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureLogRow:
    """The online features of one response and their generation; item counts only of the recommended items."""

    response: RecommendResponse
    generation: str
    history: UserHistory
    counts: RankerCounts | None

    def row(self) -> bytes:
        """The row as a JSON line."""
        fields: dict[str, Any] = {
            schema.REQUEST_ID: self.response.request_id,
            schema.USER_ID: self.response.user,
            schema.SHOWN_AT: datetime.now(UTC).isoformat(timespec="microseconds"),
            schema.FEATURE_GENERATION: self.generation,
            schema.KNOWN_US: self.history.known_us,
            schema.RECENT_ITEMS: self.history.items,
        }
        if self.history.gaps_s:
            fields[schema.RECENT_GAPS_S] = self.history.gaps_s
        if self.counts is not None:
            fields[schema.COUNTS] = list(self._count_rows(self.counts))
        return orjson.dumps(fields) + b"\n"

    def _count_rows(self, counts: RankerCounts) -> Iterator[tuple[str, str, int, list[float]]]:
        """View, entity, UTC µs at which its row became known, and its counts."""
        yield schema.USER_ACTIVITY_VIEW, self.response.user, *_row_json(counts.user_counts, 0)
        for item in self.response.items:
            if item.item_id in counts.row_of:
                yield schema.ITEM_STATS_VIEW, item.item_id, *_row_json(counts.item_counts, counts.row_of[item.item_id])


def _row_json(numbers: Numbers, row: int) -> tuple[int, list[float]]:
    return int(numbers.known_us[row]), np.nan_to_num(numbers.values[row]).tolist()
