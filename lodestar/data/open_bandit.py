"""Open Bandit: what two policies showed on a fashion site, with the chance of showing it, and whether it was clicked.

Saito et al., "Open Bandit Dataset and Pipeline", arXiv:2008.07146. A folder holds one policy's log, or a folder per policy. People are
known by four hashed features only: those who share all four are one user here. Every row is a request of its own.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.data.dataset import DataSet, constant, one
from lodestar.data.delimited import read_delimited
from lodestar.data.source import Source, whole

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
        schema.EVENTS.name: lambda: [_clicked(log) for log in logs],
        schema.IMPRESSIONS.name: lambda: [_shown(log) for log in logs],
        schema.ITEMS.name: one(_items, logs[0]),
    }
    return DataSet(tables=tables, files=tuple(log / name for log in logs for name in (FILE, CONTEXT)))


def _clicked(log: Path) -> Source:
    """A click has its impression's moment: how long it took is not known."""
    shown = _shown(log)
    found = shown.read()
    clicked = pc.equal(found[CLICK], "1")
    rows = found.filter(clicked)
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.CLICK, len(rows)))
    rows = rows.rename_columns([schema.EVENT_TIME if name == schema.SHOWN_AT else name for name in rows.column_names])
    kept = tuple(name for name in rows.column_names if name in schema.EVENTS.names)
    places = pc.indices_nonzero(clicked).to_pylist()
    return Source(
        file=shown.file,
        names=kept,
        columns=kept,
        batches=whole(rows.select(list(kept))),
        lines=lambda asked: shown.lines([places[row] for row in asked]),
        left_out={NOT_CLICKED: len(found) - len(rows)},
        notes=(ALIKE,),
    )


def _shown(log: Path) -> Source:
    source = read_delimited(log / FILE, {TIME, schema.ITEM_ID, schema.POSITION, CLICK, CHANCE, *PEOPLE})
    found = source.read()
    count = len(found)
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
    return replace(
        source,
        file=f"{log.name}/{source.file}",
        names=(*columns, *others),
        columns=tuple(columns),
        batches=whole(pa.table(columns)),
    )


def _person(features: tuple[str, ...]) -> str:
    return hashlib.sha256("|".join(features).encode()).hexdigest()[:DIGITS]


def _items(log: Path) -> Source:
    source = read_delimited(log / CONTEXT, {schema.ITEM_ID, *KINDS})
    found = source.read()
    tags = pc.binary_join_element_wise(*(found[name] for name in KINDS), "|")
    rows = found.select([schema.ITEM_ID]).append_column(schema.TAGS, tags)
    return replace(source, names=tuple(rows.column_names), columns=tuple(rows.column_names), batches=whole(rows))
