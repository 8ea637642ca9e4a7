"""Open Bandit: what two policies showed on a fashion site, with the chance of showing it, and whether it was clicked.

Saito et al., "Open Bandit Dataset and Pipeline", arXiv:2008.07146. A folder holds one policy's log, or a folder per policy. People are
known by four hashed features only: those who share all four are one user here. Every row is a request of its own.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.data.dataset import DataSet, constant
from lodestar.data.delimited import read_delimited
from lodestar.data.source import Source

FILE, CONTEXT = "impressions.csv.gz", "item_context.csv.gz"
TIME, CLICK, CHANCE = "timestamp", "click", "propensity_score"
PEOPLE = tuple(f"user_feature_{number}" for number in range(4))
KINDS = tuple(f"item_feature_{number}" for number in range(1, 4))
SURFACE, ANONYMOUS = "fashion", "anonymous"
DIGITS = 16
NOT_CLICKED = "shown and not clicked: in the impressions"
ALIKE = "people are known by four hashed features; those who share all four are one user"


def find(folder: Path) -> DataSet | None:
    logs = [folder] if (folder / FILE).is_file() else sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    if not logs or not all((log / CONTEXT).is_file() for log in logs):
        return None
    tables = {
        schema.EVENTS.name: partial(_clicks, logs),
        schema.IMPRESSIONS.name: partial(_impressions, logs),
        schema.ITEMS.name: partial(_items, logs[0]),
    }
    return DataSet(tables=tables, files=tuple(log / name for log in logs for name in (FILE, CONTEXT)))


def _impressions(logs: list[Path]) -> Source:
    return _joined([_shown(log) for log in logs])


def _clicks(logs: list[Path]) -> Source:
    """A click has its impression's moment: how long it took is not known."""
    whole = _impressions(logs)
    clicked = pc.equal(whole.rows[CLICK], "1")
    rows = whole.rows.filter(clicked)
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.CLICK, len(rows)))
    rows = rows.rename_columns([schema.EVENT_TIME if name == schema.SHOWN_AT else name for name in rows.column_names])
    kept = [name for name in rows.column_names if name in schema.EVENTS.names]
    places = pc.indices_nonzero(clicked).to_pylist()
    return Source(
        file=whole.file,
        names=tuple(kept),
        rows=rows.select(kept),
        lines=lambda asked: whole.lines([places[row] for row in asked]),
        left_out={NOT_CLICKED: len(whole.rows) - len(rows)},
        notes=(ALIKE,),
    )


def _shown(log: Path) -> Source:
    source = read_delimited(log / FILE, {TIME, schema.ITEM_ID, schema.POSITION, CLICK, CHANCE, *PEOPLE})
    found, count = source.rows, len(source.rows)
    people = zip(*(found[name].to_pylist() for name in PEOPLE), strict=True)
    columns = {
        schema.REQUEST_ID: pa.array([f"{log.name}-{row}" for row in range(count)], pa.string()),
        schema.USER_ID: pa.array([_person(features) for features in people], pa.string()),
        schema.ITEM_ID: found[schema.ITEM_ID],
        schema.POSITION: found[schema.POSITION],
        schema.SHOWN_AT: found[TIME],
        schema.SURFACE: constant(SURFACE, count),
        schema.MODEL_DIGEST: constant(log.name, count),
        schema.ARM: constant(log.name, count),
        schema.PROPENSITY: found[CHANCE],
        schema.FEATURE_HASH: constant(ANONYMOUS, count),
        CLICK: found[CLICK],
    }
    others = [name for name in source.names if name not in (*columns, TIME, CHANCE, *PEOPLE)]
    return Source(
        file=f"{log.name}/{source.file}",
        names=(*columns, *others),
        rows=pa.table(columns),
        lines=source.lines,
        malformed=source.malformed,
    )


def _person(features: tuple[str, ...]) -> str:
    return hashlib.sha256("|".join(features).encode()).hexdigest()[:DIGITS]


def _joined(sources: list[Source]) -> Source:
    """One after the other; a row's line is that of its own file."""
    ends = [sum(len(source.rows) for source in sources[: place + 1]) for place in range(len(sources))]

    def lines(rows: Sequence[int]) -> list[int]:
        found = []
        for row in rows:
            place = next(place for place, end in enumerate(ends) if row < end)
            found += sources[place].lines([row - (ends[place - 1] if place else 0)])
        return found

    return Source(
        file=" and ".join(source.file for source in sources),
        names=sources[0].names,
        rows=pa.concat_tables([source.rows for source in sources]),
        lines=lines,
        malformed=tuple(malformed for source in sources for malformed in source.malformed),
    )


def _items(log: Path) -> Source:
    source = read_delimited(log / CONTEXT, {schema.ITEM_ID, *KINDS})
    tags = pc.binary_join_element_wise(*(source.rows[name] for name in KINDS), "|")
    rows = source.rows.select([schema.ITEM_ID]).append_column(schema.TAGS, tags)
    return Source(file=source.file, names=tuple(rows.column_names), rows=rows, lines=source.lines, malformed=source.malformed)
