"""Counts that a model was asked with, made again from the log as it was known then, by the code that makes training's."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from lodestar import schema
from lodestar.data.tables import Tables
from lodestar.features import taken, windows
from lodestar.features.relations import opened_for
from lodestar.features.windows import HOUR_US
from lodestar.schema import View


class Key(NamedTuple):
    """A view's row of an entity: the one that became known then (UTC µs; 0 where there was none)."""

    view: str
    entity: str
    known_us: int


Values = tuple[float, ...]


def rebuilt(found: Tables, wanted: Iterable[Key], scale: Mapping[str, float]) -> dict[Key, Values]:
    """Of each key the counts as training has them."""
    moments: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    values: dict[Key, Values] = {}
    for key in wanted:
        moments[key.view][key.entity].add(key.known_us)
        values[key] = (0.0,) * len(schema.VIEWS[key.view].counts)
    for name, entities in moments.items():
        values |= dict(_of_view(found, schema.VIEWS[name], entities, scale))
    return values


def _of_view(found: Tables, view: View, moments: Mapping[str, set[int]], scale: Mapping[str, float]) -> Iterator[tuple[Key, Values]]:
    """Where anything is known of an entity."""
    number, names = taken.NUMBERS[view.entity], [count.name for count in view.counts]
    with opened_for(found, view.entity, list(moments)) as database:
        row_of = {name: row for row, name in enumerate(taken.names(database, view.entity).to_pylist())}
        for events in taken.chunks(database, view.entity):
            ends, enters = windows.hours_of(events)
            keys, hours, counts = windows.counted(view.counts, events[number].astype(np.int64), ends, enters, events["type"])
            for entity in moments.keys() & row_of.keys():
                start, stop = np.searchsorted(keys, (row_of[entity], row_of[entity] + 1))
                for known_us in moments[entity]:
                    last = start + int(np.searchsorted(hours[start:stop], known_us // HOUR_US, side="right")) - 1
                    if last >= start:
                        raw = {name: int(column[last]) for name, column in zip(names, counts, strict=True)}
                        yield Key(view.name, entity, known_us), tuple(map(float, windows.scaled(raw, scale).values()))
