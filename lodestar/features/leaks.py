"""The leak hunter: is what a view says of a moment what could be said then?

Each view is built twice, from everything and from what had become known by the moment. A point-in-time join must find the same in both:
a future event, a late arrival, a tie that is settled later, a clock of another zone or a statistic over all of history all make a
difference, whatever the SQL looks like. (The metamorphic rule: what comes later changes nothing at t.) Only the scale of counts is
taken from the whole, as training takes it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from lodestar import schema
from lodestar.data.tables import Tables
from lodestar.features import build, sequences
from lodestar.features.relations import opened
from lodestar.progress import Progress

Views = Callable[[Any], Mapping[str, str]]  # SQL of each view over a database's `positive`, `users` and `items`; the entity comes first
Row = dict[str, Any]
SEQUENCES = "sequence_rows"


@dataclass(frozen=True, kw_only=True)
class Leak:
    """A feature whose value at a moment hangs on what became known after it."""

    view: str
    entity: str
    moment: datetime
    feature: str
    found: Any
    known: Any

    def __str__(self) -> str:
        return (
            f"{self.view} says of {self.entity} at {self.moment.isoformat()} that {self.feature} is {self.found!r}; "
            f"from what was known then it is {self.known!r}"
        )


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """What was compared, and what was found."""

    views: tuple[str, ...]
    moments: int
    rows: int
    leaks: tuple[Leak, ...]


def hunt(found: Tables, moments_us: Sequence[int], views: Views | None = None) -> Hunt:
    """Compare every view, ours unless others are given, at each moment (UTC µs) for every entity that it has a row of."""
    with opened(found) as whole, Progress("hunt for leaks", len(moments_us)) as progress:
        ours = views or _ours(whole)
        queries = ours(whole)
        leaks: list[Leak] = []
        rows = 0
        for moment_us in moments_us:
            with opened(found, known_by_us=moment_us) as then:
                known = ours(then)
                for view, query in queries.items():
                    said = _as_of(whole, query, moment_us)
                    rows += len(said)
                    leaks += _differences(view, moment_us, said, _as_of(then, known[view], moment_us))
            progress.advance(leaks=len(leaks))
    return Hunt(views=tuple(queries), moments=len(moments_us), rows=rows, leaks=tuple(leaks))


def sample_moments(found: Tables, count: int, seed: int = 0) -> list[int]:
    """Moments worth asking about, ascending: those of events, and those at which one became known, just before and just after."""
    with opened(found) as database:
        query = f"SELECT epoch_us({schema.EVENT_TIME}), epoch_us({schema.INGESTED_AT}) FROM positive"
        times = np.unique(np.concatenate([np.asarray(column, dtype=np.int64) for column in database.execute(query).fetchnumpy().values()]))
    near = np.unique(np.concatenate([times - 1, times, times + 1]))
    return sorted(np.random.default_rng(seed).choice(near, size=min(count, len(near)), replace=False).tolist())


def _ours(whole: Any) -> Views:
    """Our own views, at the scale that the whole log gives."""
    scale = build.counted(whole, np.iinfo(np.int64).max)

    def views(database: Any) -> Mapping[str, str]:
        if database is not whole:
            build.counted(database, np.iinfo(np.int64).max)
        return {**build.views(database, scale), schema.USER_SEQUENCE_VIEW: _sequences(database)}

    return views


def _sequences(database: Any) -> str:
    database.register(SEQUENCES, pa.concat_tables([sequences.ROWS.empty_table(), *sequences.tables(database)]))
    return f"SELECT * FROM {SEQUENCES}"


def _as_of(database: Any, query: str, moment_us: int) -> dict[str, Row]:
    """By entity, the row that a point-in-time join finds: the latest by then, of those known by then."""
    moment = f"make_timestamptz({moment_us})"
    entity = database.execute(f"SELECT * FROM ({query}) LIMIT 0").description[0][0]
    relation = database.execute(f"""
        SELECT * FROM ({query}) WHERE {schema.FEATURE_TIME} <= {moment} AND {schema.KNOWN_TIME} <= {moment}
        QUALIFY row_number() OVER (PARTITION BY {entity} ORDER BY {schema.FEATURE_TIME} DESC, {schema.KNOWN_TIME} DESC) = 1""")
    rows = relation.to_arrow_table().to_pylist()
    return {str(row[entity]): row for row in rows}


def _differences(view: str, moment_us: int, said: Mapping[str, Row], known: Mapping[str, Row]) -> Iterator[Leak]:
    moment = datetime.fromtimestamp(moment_us / 1e6, UTC)
    for entity, row in said.items():
        names = [name for name in list(row)[1:] if name not in {schema.FEATURE_TIME, schema.KNOWN_TIME}]
        then = known.get(entity, {})
        different = next((name for name in names if row[name] != then.get(name)), None)
        if different is not None:
            yield Leak(view=view, entity=entity, moment=moment, feature=different, found=row[different], known=then.get(different))
