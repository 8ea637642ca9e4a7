"""Target leakage check of feature views: does a feature at a time depend on data that became known only later?

Each view is built twice, from all data and from the data known by a cutoff; an as-of join at the cutoff must give the same rows for both
(a metamorphic test). Future events, late arrivals, ties that are settled later, wrong time zones and statistics over the whole log all
show as differences, whatever the SQL. Only the scale of counts comes from the whole log, as in training.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isnan
from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.data.tables.tables import Tables
from lodestar.features.batch import build, count_tables, event_partitions
from lodestar.features.batch.count_tables import RawCounts
from lodestar.features.batch.duckdb_views import connect
from lodestar.io.private_folders import workspace
from lodestar.progress import Progress
from lodestar.schema.time_units import SECOND_US

# SQL of each view, by name, over a database's `positive`, `users` and `items`; the entity is the first column.
Views = Callable[[Any], Mapping[str, str]]
Row = dict[str, Any]
COUNTS, ROW = "count_rows", "row"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A leak: a feature whose value as of `cutoff` depends on data that became known later (`found`: with it, `known`: without).

    `feature` is ROW where one of the two has no row of the entity at all: `found` and `known` then say which (ROW or None).
    """

    view: str
    entity: str
    cutoff: datetime
    feature: str
    found: Any
    known: Any

    def __str__(self) -> str:
        difference = f"{self.feature} is {self.found!r}, but {self.known!r}"
        if self.feature == ROW:
            difference = "there is a row, but none" if self.found else "there is no row, but one"
        return f"view {self.view}, entity {self.entity} as of {self.cutoff.isoformat()}: {difference} from the data known then"


@dataclass(frozen=True, kw_only=True)
class LeakReport:
    """Result of a leakage check: the views, the number of cutoffs and of rows that were compared, and the leaks."""

    views: tuple[str, ...]
    num_cutoffs: int
    rows: int
    leaks: tuple[Leak, ...]


def find_leaks(tables: Tables, cutoffs_us: Sequence[int], views: Views | None = None) -> LeakReport:
    """Check views (default: the feature build's) for target leakage at each cutoff (UTC µs), for every entity with a row by then.

    A leak names the first feature of a row that differs. Where a view keeps only the latest row of each entity, a later one in its place is
    no leak: the row was not there to be joined.
    """
    with connect(tables) as whole, Progress("check for leaks", len(cutoffs_us)) as progress:
        ours = views or _feature_views(whole)
        queries = ours(whole)
        entities = {view: _entity(whole, query) for view, query in queries.items()}
        latest_us = {view: _latest_only(whole, query, entities[view]) for view, query in queries.items()}
        leaks: list[Leak] = []
        rows = 0
        for cutoff_us in cutoffs_us:
            with connect(tables, known_by_us=cutoff_us) as then:
                known = ours(then)
                for view, query in queries.items():
                    from_all = _as_of(whole, query, entities[view], cutoff_us)
                    rows += len(from_all)
                    rows_known = _as_of(then, known[view], entities[view], cutoff_us)
                    replaced = {entity for entity, time_us in latest_us[view].items() if time_us > cutoff_us}
                    compared = {entity: row for entity, row in rows_known.items() if entity in from_all or entity not in replaced}
                    leaks += _differences(view, cutoff_us, from_all, compared)
            progress.advance(leaks=len(leaks))
    return LeakReport(views=tuple(queries), num_cutoffs=len(cutoffs_us), rows=rows, leaks=tuple(leaks))


def sample_cutoffs(tables: Tables, count: int, seed: int = 0) -> list[int]:
    """Sample at most `count` cutoffs (UTC µs), ascending: event and ingestion times, and 1 µs before and after each."""
    with connect(tables) as database:
        query = f"SELECT epoch_us({schema.EVENT_TIME}), epoch_us({schema.INGESTED_AT}) FROM positive"
        times = np.unique(np.concatenate([np.asarray(column, dtype=np.int64) for column in database.execute(query).fetchnumpy().values()]))
    near = np.unique(np.concatenate([times - 1, times, times + 1]))
    return sorted(np.random.default_rng(seed).choice(near, size=min(count, len(near)), replace=False).tolist())


def _feature_views(whole: Any) -> Views:
    """The views of the feature build, with the scale of the whole log."""
    scale: dict[str, float] = {}

    def views(database: Any) -> Mapping[str, str]:
        with workspace() as folder:
            for view in schema.COUNT_VIEWS:
                counts = count_tables.count(database, view, np.iinfo(np.int64).max, folder / view.name)
                if database is whole:
                    scale.update(counts.scale)
                _save_counts(database, counts, scale)
        saved = {view.name: f"SELECT * FROM {view.name}" for view in schema.COUNT_VIEWS}
        return {**saved, **build.views(database), **_user_views(database)}

    return views


def _user_views(database: Any) -> dict[str, str]:
    """SQL of the views of user sequences and user filters, which are no queries of their own."""
    parts: dict[str, list[pa.Table]] = {name: [shape.empty_table()] for name, shape in build.USER_VIEWS.items()}
    for rows, filters, _ in build.user_rows(database):
        parts[schema.USER_SEQUENCE_VIEW].append(rows)
        parts[schema.USER_FILTER_VIEW].append(filters)
    for name, tables in parts.items():
        database.register(f"{name}_rows", pa.concat_tables(tables))
    return {name: f"SELECT * FROM {name}_rows" for name in parts}


def _save_counts(database: Any, counts: RawCounts, scale: Mapping[str, float]) -> None:
    """Save a view's rows as a table of its name."""
    ids = event_partitions.ids(database, counts.view.entity)
    batches = (batch for rows in count_tables.scaled_rows(counts, ids, scale) for batch in rows.to_batches())
    database.register(COUNTS, pa.RecordBatchReader.from_batches(count_tables.rows_schema(counts.view), batches))
    database.execute(f"CREATE TABLE {counts.view.name} AS SELECT * FROM {COUNTS}")
    database.unregister(COUNTS)


def _entity(database: Any, query: str) -> str:
    """The column that a view's rows are of: its first."""
    return str(database.execute(f"SELECT * FROM ({query}) LIMIT 0").description[0][0])


def _as_of(database: Any, query: str, entity: str, cutoff_us: int) -> dict[str, Row]:
    """The row of each entity that an as-of join finds: the latest one by the cutoff, of those known by then."""
    cutoff = f"make_timestamptz({cutoff_us})"
    relation = database.execute(f"""
        SELECT * FROM ({query}) WHERE {schema.FEATURE_TIME} <= {cutoff} AND {schema.KNOWN_TIME} <= {cutoff}
        QUALIFY row_number() OVER (PARTITION BY {entity} ORDER BY {schema.FEATURE_TIME} DESC, {schema.KNOWN_TIME} DESC) = 1""")
    rows = relation.to_arrow_table().to_pylist()
    return {str(row[entity]): row for row in rows}


def _latest_only(database: Any, query: str, entity: str) -> dict[str, int]:
    """From when on (UTC µs) the row of each entity is known, of a view with one row for each; empty for a view that keeps several."""
    from_us = f"max(greatest(epoch_us({schema.FEATURE_TIME}), epoch_us({schema.KNOWN_TIME})))"
    rows = database.execute(f"SELECT {entity}, {from_us}, count(*) FROM ({query}) GROUP BY {entity}").fetchall()
    return {} if any(count > 1 for *_, count in rows) else {str(name): time_us for name, time_us, _ in rows if time_us is not None}


def _differences(view: str, cutoff_us: int, from_all: Mapping[str, Row], known: Mapping[str, Row]) -> Iterator[Leak]:
    cutoff = datetime.fromtimestamp(cutoff_us / SECOND_US, UTC)
    for entity in dict.fromkeys([*from_all, *known]):
        row, then = from_all.get(entity), known.get(entity)
        if row is None or then is None:
            yield Leak(view=view, entity=entity, cutoff=cutoff, feature=ROW, found=row and ROW, known=then and ROW)
            continue
        names = [name for name in list(row)[1:] if name not in {schema.FEATURE_TIME, schema.KNOWN_TIME}]
        different = next((name for name in names if not _is_equal(row[name], then.get(name))), None)
        if different is not None:
            yield Leak(view=view, entity=entity, cutoff=cutoff, feature=different, found=row[different], known=then.get(different))


def _is_equal(found: Any, known: Any) -> bool:
    """Whether two values are equal, NaN with NaN, in lists too."""
    if isinstance(found, list) and isinstance(known, list):
        return len(found) == len(known) and all(map(_is_equal, found, known))
    return bool(found == known or (isinstance(found, float) and isinstance(known, float) and isnan(found) and isnan(known)))
