"""Training-serving skew of count features: rebuild the served counts from the log as known then, with the code that builds training's."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from lodestar import schema
from lodestar.data.tables.tables import Tables
from lodestar.features.batch import event_partitions, windows
from lodestar.features.batch.duckdb_views import connect_for
from lodestar.schema import View
from lodestar.schema.time_units import HOUR_US


class Key(NamedTuple):
    """Key of a served row of a view: entity, and the time at which the row became known (UTC µs; NEVER: there was no row)."""

    view: str
    entity: str
    known_us: int


Values = tuple[float, ...]


def rebuild_counts(tables: Tables, keys: Iterable[Key], scale: Mapping[str, float]) -> dict[Key, Values]:
    """Scaled counts of each key as training computes them, in the order of the view's counts; zeros for an unknown entity."""
    times_us: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    values: dict[Key, Values] = {}
    for key in keys:
        times_us[key.view][key.entity].add(key.known_us)
        values[key] = (0.0,) * len(schema.VIEWS[key.view].counts)
    for name, entities in times_us.items():
        values |= dict(_view_counts(tables, schema.VIEWS[name], entities, scale))
    return values


def _view_counts(tables: Tables, view: View, times_us: Mapping[str, set[int]], scale: Mapping[str, float]) -> Iterator[tuple[Key, Values]]:
    """Keys and scaled counts of a view's entities with an event by then."""
    number = event_partitions.NUMBERS[view.entity]
    with connect_for(tables, view.entity, list(times_us)) as database:
        row_of = {entity: row for row, entity in enumerate(event_partitions.ids(database, view.entity).to_pylist())}
        for events in event_partitions.chunks(database, view.entity):
            ends, enters = windows.event_hours(events["time"], events["known"])
            keys, hours, counts = windows.windowed_counts(view.counts, events[number].astype(np.int64), ends, enters, events["type"])
            for entity in times_us.keys() & row_of.keys():
                start, stop = np.searchsorted(keys, (row_of[entity], row_of[entity] + 1))
                for known_us in times_us[entity]:
                    last = start + int(np.searchsorted(hours[start:stop], known_us // HOUR_US, side="right")) - 1
                    if last >= start:
                        raw = {name: int(column[last]) for name, column in zip(view.count_names, counts, strict=True)}
                        yield Key(view.name, entity, known_us), tuple(map(float, windows.scaled(raw, scale).values()))
