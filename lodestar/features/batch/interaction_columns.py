"""Columns of the interactions on disk, filled some users at a time: sequences.npz without holding them in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lodestar import schema
from lodestar.bundle.catalogue import Catalogue
from lodestar.config import DataConfig
from lodestar.data.split.evaluable import raise_if_none_returns
from lodestar.data.split.interactions import check_counts
from lodestar.data.split.splits import last_trained, training_end, validation_times
from lodestar.errors import DataError
from lodestar.features.batch import feature_set
from lodestar.features.batch.event_partitions import REFUSED, TYPES
from lodestar.features.batch.labels import CUTOFF_US
from lodestar.features.batch.sequences import ITEM, USER, UserEvents
from lodestar.io.npz import AppendOnlyArray
from lodestar.schema.feedback import Feedback
from lodestar.schema.time_units import NEVER

DTYPES = {"user": np.int32, "item": np.int32, "time": np.int64}
# Empty where every interaction weighs the same, makes its item seen, and nothing filters beside them.
OPTIONAL_DTYPES = {
    "weight": np.float32,
    "seen": np.bool_,
    "filter_user": np.int32,
    "filter_item": np.int32,
    "filter_time": np.int64,
    "filter_refused": np.bool_,
    "other_refused_item": np.int32,
    "other_refused_time": np.int64,
}


@dataclass(frozen=True, kw_only=True)
class TrainingCutoffs:
    """Training cutoffs (UTC µs): `end_us` of the log, and `by_user` (user_id, cutoff_us) of the users whose own may be earlier.

    Those are the users with a validation item under leave-one-out, and its time; none with a split by time.
    """

    end_us: int
    by_user: pa.Table


class InteractionColumns:
    """Interactions of a log in the order of their users, in files of `folder`; `counts` adds up events by sign."""

    def __init__(self, folder: Path, rules: Feedback) -> None:
        self.rules = rules
        self._columns = {name: AppendOnlyArray(folder / name, dtype) for name, dtype in (DTYPES | OPTIONAL_DTYPES).items()}
        self._weights = np.array([*(rules.positive.get(event_type, 0.0) for event_type in TYPES), 0.0, 0.0], dtype=np.float32)
        self._users: list[Any] = [pa.array([], pa.string())]
        self._has_events = np.zeros(0, dtype=np.bool_)
        self._last_us = NEVER
        self._most = 0  # interactions of one user
        self._evaluated, self._validation_us = [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
        self.num_users = 0
        self.counts = np.zeros(3, dtype=np.int64)

    def append(self, events: UserEvents, users: Any) -> None:
        """Add the interactions of further users; `users` are all ids by number, and items are numbered as in the catalogue."""
        kept, self.counts = events.kept, self.counts + events.counts
        starts = np.flatnonzero(np.diff(kept[USER], prepend=-1))
        numbers = kept[USER][starts]
        others = events.filters[(events.filters["type"] == REFUSED) & ~np.isin(events.filters[USER], numbers)]
        self._append({"other_refused_item": others[ITEM], "other_refused_time": others["time"]})
        if len(kept) == 0:
            return
        user = (self.num_users + np.repeat(np.arange(len(starts)), np.diff(starts, append=len(kept)))).astype(np.int32)
        self._append({"user": user, "item": kept[ITEM], "time": kept["time"]})
        if self._is_weighted:
            self._append({"weight": self._weights[kept["type"]]})
        if not self.rules.filters_history:
            self._append({"seen": events.seen})
        self._append_filters(events, numbers)
        self._users.append(users.take(pa.array(numbers)))
        self._note_items(kept[ITEM])
        self._last_us = max(self._last_us, last_trained(user, kept["time"]))
        self._most = max(self._most, int(np.diff(starts, append=len(kept)).max()))
        evaluated, validation_us = validation_times(user, kept["time"])
        self._evaluated.append(evaluated)
        self._validation_us.append(validation_us)
        self.num_users += len(starts)

    @property
    def filled(self) -> dict[str, AppendOnlyArray]:
        """The columns of sequences.npz by name, optional ones only where they say something."""
        return {name: column for name, column in self._columns.items() if name in DTYPES or len(column)}

    @property
    def users(self) -> Any:
        """Ids of the users, in the order of their numbers, as an Arrow array."""
        return pa.concat_arrays(self._users)

    @property
    def _is_weighted(self) -> bool:
        return len(set(self.rules.positive.values())) > 1

    def _append_filters(self, events: UserEvents, numbers: NDArray[np.int32]) -> None:
        """Add what filters beside the interactions, of users who have any."""
        filters = events.filters[np.isin(events.filters[USER], numbers)]
        self._append(
            {
                "filter_user": (self.num_users + np.searchsorted(numbers, filters[USER])).astype(np.int32),
                "filter_item": filters[ITEM],
                "filter_time": filters["time"],
                "filter_refused": filters["type"] == REFUSED,
            }
        )

    def _append(self, values: dict[str, NDArray[Any]]) -> None:
        for name, column in values.items():
            self._columns[name].append(column)

    def _note_items(self, item: NDArray[np.int32]) -> None:
        if len(item) and item.max() >= len(self._has_events):
            self._has_events = np.concatenate([self._has_events, np.zeros(item.max() + 1 - len(self._has_events), dtype=np.bool_)])
        self._has_events[item] = True

    def save(self, items: Catalogue, folder: Path, config: DataConfig, types: Callable[[], Mapping[str, int]]) -> TrainingCutoffs:
        """Write sequences.npz and split.json; returns the training cutoffs.

        DataError E206, which names the log's event `types`, if no event is positive, E203 for fewer users, items or interactions than
        `config` requires, or E204 if they have one interaction each.
        """
        num_interactions = len(self._columns["item"])
        if num_interactions == 0 and (found := types()):
            raise _nothing_positive(self.rules, found)
        try:
            check_counts(self.num_users, int(self._has_events.sum()), num_interactions, config)
        except DataError:
            raise_if_none_returns(self._most)  # a smaller minimum would not help
            raise
        feature_set.save_columns(self.filled, self.users, items, folder)
        feature_set.write_split(folder, config)
        end_us = training_end(self._columns["time"].blocks, self._last_us, config)
        return TrainingCutoffs(end_us=end_us, by_user=self._cutoffs_by_user().slice(0, 0 if config.split == "time" else None))

    def _cutoffs_by_user(self) -> pa.Table:
        """The time of each validation item under leave-one-out, (user_id, cutoff_us)."""
        columns = self.users.take(pa.array(np.concatenate(self._evaluated))), pa.array(np.concatenate(self._validation_us))
        return pa.table(dict(zip((schema.USER_ID, CUTOFF_US), columns, strict=True)))


def _nothing_positive(rules: Feedback, types: Mapping[str, int]) -> DataError:
    """The error of a log without an interaction: whatever the recipe, more events of the same kind do not help."""
    found = ", ".join(f"{count:,} {event_type}" for event_type, count in types.items())
    message = f"no event with an item of the catalogue is positive, so nothing can be recommended from this log; its events: {found}"
    remedy = f"Ingest events of a positive type: {', '.join(sorted(rules.positive))}."
    if schema.EventType.RATING in types:
        remedy += (
            f" A rating is positive from {rules.rating_positive_from:g}; declare another feedback.rating_positive_from if that is not so."
        )
    return DataError("E206", message, remedy=remedy)
