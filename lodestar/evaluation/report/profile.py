"""Data profile (profile.html): counts, time range, long-tail curves and column statistics of ingested tables on one page.

Aggregates only: no id and no value of a personal (PII) column is shown.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from markupsafe import Markup

from lodestar import schema
from lodestar.data.contract.report import Report
from lodestar.data.tables.tables import Tables
from lodestar.evaluation.report.plots import Axis, Line, lines
from lodestar.evaluation.report.template import rendered
from lodestar.features.batch.duckdb_views import viewed
from lodestar.features.batch.feedback_events import POSITIVE
from lodestar.schema.arrays import Doubles, Int64, Longs
from lodestar.schema.time_units import SECOND_US

TEMPLATE = "profile.html"
USERS_STYLE, ITEMS_STYLE = "model", "baseline"
MAX_EXACT_DISTINCT_ROWS = 1_000_000  # with more rows, the number of distinct values is an estimate
FEW = 50
COMPARED = {schema.Kind.FLOAT, schema.Kind.INT, schema.Kind.TIME}  # kinds with a meaningful min and max


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """Statistics of a column that has values: share of filled rows (0–1), distinct values (estimated in large tables), min and max."""

    name: str
    share: float
    distinct: int
    min: str
    max: str


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Profile of the tables; counts are of positive events with items of the catalogue; `per_user` and `per_item` ascend."""

    report: Report
    types: tuple[tuple[str, int], ...]
    pairs: int
    num_items: int
    first: datetime | None
    last: datetime | None
    median_lag_s: float
    by_day: Int64[Longs, " days"]
    by_hour: Int64[Longs, " hours"]
    per_user: Int64[Longs, " users"]
    per_item: Int64[Longs, " items"]
    columns: dict[str, tuple[ColumnProfile, ...]]

    @property
    def events(self) -> int:
        """Number of positive events."""
        return int(self.per_user.sum())


def profile(tables: Tables, report: Report) -> Profile:
    """Profile tables that were ingested with this report, by DuckDB queries."""
    with viewed(tables) as database:
        time = f"epoch_us({schema.EVENT_TIME})"
        about = f"""
            SELECT count(DISTINCT ({schema.USER_ID}, {schema.ITEM_ID})), min({schema.EVENT_TIME}), max({schema.EVENT_TIME}),
                coalesce(median(epoch_us({schema.INGESTED_AT}) - {time}), 0) / {SECOND_US} FROM {POSITIVE}"""
        pairs, first, last, lag_s = database.execute(about).fetchone()
        (num_items,) = database.execute("SELECT count(*) FROM items").fetchone()
        types = f"SELECT {schema.EVENT_TYPE}, count(*) AS n FROM events GROUP BY ALL ORDER BY n DESC, {schema.EVENT_TYPE}"
        return Profile(
            report=report,
            types=tuple(database.execute(types).fetchall()),
            pairs=pairs,
            num_items=num_items,
            first=first,
            last=last,
            median_lag_s=lag_s,
            by_day=_histogram(database, f"datediff('day', (SELECT min({schema.EVENT_TIME}) FROM {POSITIVE}), {schema.EVENT_TIME})"),
            by_hour=_histogram(database, f"hour({schema.EVENT_TIME})", 24),
            per_user=_per(database, schema.USER_ID),
            per_item=_per(database, schema.ITEM_ID),
            columns={name: _filled(database, table) for name, table in schema.TABLES.items() if report.tables[name].rows_kept},
        )


def _histogram(database: Any, place: str, length: int = 0) -> Longs:
    """Number of events per value 0, 1, … of a SQL expression."""
    found = database.execute(f"SELECT {place} AS place, count(*) AS n FROM {POSITIVE} GROUP BY ALL").fetchnumpy()
    counts = np.zeros(max(length, int(found["place"].max(initial=-1)) + 1), dtype=np.int64)
    counts[found["place"].astype(np.int64)] = found["n"]
    return counts


def _per(database: Any, entity: str) -> Longs:
    counts = f"SELECT count(*) AS n FROM {POSITIVE} GROUP BY {entity}"
    found = database.execute(f"SELECT n, count(*) AS entities FROM ({counts}) GROUP BY n ORDER BY n").fetchnumpy()
    return np.repeat(found["n"].astype(np.int64), found["entities"].astype(np.int64))


def _filled(database: Any, table: schema.Table) -> tuple[ColumnProfile, ...]:
    (total,) = database.execute(f"SELECT count(*) FROM {table.name}").fetchone()
    different = "count(DISTINCT {})" if total <= MAX_EXACT_DISTINCT_ROWS else "approx_count_distinct({})"
    parts = ", ".join(f"count({one.name}), {different.format(one.name)}, min({one.name}), max({one.name})" for one in table.columns)
    _, *values = database.execute(f"SELECT count(*), {parts} FROM {table.name}").fetchone()
    found = []
    for place, column in enumerate(table.columns):
        count, distinct, least, most = values[4 * place : 4 * place + 4]
        if count:
            ends = ("", "") if column.kind not in COMPARED or column.pii else (_text(least), _text(most))
            found.append(ColumnProfile(name=column.name, share=count / total, distinct=min(distinct, count), min=ends[0], max=ends[1]))
    return tuple(found)


def _text(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else f"{value:,.6g}"


def page(profile: Profile) -> str:
    """HTML of the data profile; every text of the data is escaped, the same input gives the same bytes."""
    return rendered(
        TEMPLATE,
        profile=profile,
        repeated=1 - profile.pairs / profile.events if profile.events else 0.0,
        density=profile.pairs / (len(profile.per_user) * profile.num_items) if profile.events else 0.0,
        without_interactions=1 - len(profile.per_item) / profile.num_items if profile.num_items else 0.0,
        charts=_charts(profile) if profile.events else [],
        most=profile.types[0][1] if profile.types else 1,
    )


def _charts(profile: Profile) -> list[tuple[str, str, Markup]]:
    """Heading, note and chart of each figure."""
    charts = []
    if not profile.report.order_only:
        days = np.arange(len(profile.by_day), dtype=np.float64)
        drawn = [Line(style=USERS_STYLE, x=days, y=profile.by_day.astype(np.float64))]
        note = f"Events by day: {profile.by_day.min():,} to {profile.by_day.max():,}"
        charts.append(("Events by day", "A gap is a day without data.", lines(drawn, Axis(label="day"), Axis(label="events"), note)))
        hours = np.arange(24, dtype=np.float64)
        drawn = [Line(style=USERS_STYLE, x=hours, y=profile.by_hour / profile.events)]
        busiest = int(profile.by_hour.argmax())
        axes = Axis(label="hour, UTC"), Axis(label="share of events", is_share=True)
        charts.append(("Events by hour of the day", f"Peak at {busiest} h UTC.", lines(drawn, *axes, f"Peak at {busiest} h")))
    entities = {USERS_STYLE: profile.per_user, ITEMS_STYLE: profile.per_item}
    shares = {style: _cumulative_share(counts) for style, counts in entities.items()}
    drawn = [Line(style=style, x=np.linspace(0, 1, len(share)), y=share) for style, share in shares.items()]
    users, items = (share[len(share) // 10] for share in shares.values())
    note = f"The most active tenth of users has {users:.0%} of the events, the most popular tenth of items {items:.0%}."
    axes = Axis(label="share of users or items, most events first", is_share=True), Axis(label="share of events", is_share=True)
    charts.append(("Long tail", note, lines(drawn, *axes, note)))
    few = np.arange(FEW + 1)
    drawn = [Line(style=style, x=few.astype(np.float64), y=_share_up_to(counts, few)) for style, counts in entities.items()]
    users, items = (line.y[5] for line in drawn)
    note = f"{users:.0%} of the users and {items:.0%} of the items with interactions have at most five events, which is little to train on."
    axes = Axis(label="events at most"), Axis(label="share of users or items", is_share=True)
    charts.append(("Sparsity", note, lines(drawn, *axes, note)))
    return charts


def _cumulative_share(counts: Longs, points: int = 101) -> Doubles:
    """Share of all events that the top 0 %, 1 %, …, 100 % of users or items have."""
    total = np.concatenate([[0], np.cumsum(counts[::-1])])
    shares: Doubles = np.interp(np.linspace(0, len(counts), points), np.arange(len(total)), total / total[-1])
    return shares


def _share_up_to(counts: Longs, few: Longs) -> Doubles:
    """Share of users or items with at most each number of events."""
    shares: Doubles = np.searchsorted(counts, few, side="right") / len(counts)
    return shares
