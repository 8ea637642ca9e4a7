"""Open Bandit reader: impressions of two policies on a fashion site, with propensities and clicks.

Saito et al., "Open Bandit Dataset and Pipeline", NeurIPS 2021, arXiv:2008.07146. A folder holds one policy's log, or a folder per policy,
as POLICY/impressions.csv or, as it is published, POLICY/CAMPAIGN/CAMPAIGN.csv. There are no user ids, only four hashed features: people who
share all four become one user. Every row is a request of its own.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lodestar import schema
from lodestar.data.contract.rules import CellOptions
from lodestar.data.dataset import DataSet, constant, single_file
from lodestar.data.readers import decompression
from lodestar.data.readers.readers import read
from lodestar.data.readers.source import Source, single_batch

IMPRESSIONS, CONTEXT = "impressions", "item_context"
SUFFIXES = (".csv", ".csv.gz")
LEVELS = ("", "*/", "*/*/")  # folders between the dataset's and that of a log
TIME, CLICK, PROPENSITY = "timestamp", "click", "propensity_score"
USER_FEATURES = tuple(f"user_feature_{number}" for number in range(4))
ITEM_FEATURES = tuple(f"item_feature_{number}" for number in range(1, 4))
NEEDED = {TIME, schema.ITEM_ID, schema.POSITION, CLICK, PROPENSITY, *USER_FEATURES}
SURFACE, ANONYMOUS = "fashion", "anonymous"
WHOLE = "all"  # the campaign with the items of the others
DIGITS = 16
NOT_CLICKED = "shown and not clicked: in the impressions"
SHARED_USERS = "people are known by four hashed features; those who share all four are one user"


@dataclass(frozen=True, kw_only=True)
class _Log:
    """One policy's impressions, and the features of the items."""

    policy: str
    campaign: str
    file: Path
    context: Path


def find(folder: Path) -> DataSet | None:
    """Open Bandit in a folder of one policy's log or of one folder per policy, None where it is not there.

    Items of several campaigns have the same numbers: one campaign is read, and said so.
    """
    found = [log for log in _logs(folder) if _has_columns(log.file)]
    if not found:
        return None
    campaigns = sorted({log.campaign for log in found})
    campaign = WHOLE if WHOLE in campaigns else campaigns[0]
    logs = [log for log in found if log.campaign == campaign]
    tables = {
        schema.EVENTS.name: lambda: [_clicks(log) for log in logs],
        schema.IMPRESSIONS.name: lambda: [_impressions(log) for log in logs],
        schema.ITEMS.name: single_file(_items, logs[0]),
    }
    notes = (f"the campaign {campaign} is read, of {', '.join(campaigns)}",) if len(campaigns) > 1 else ()
    return DataSet(tables=tables, paths=tuple(path for log in logs for path in (log.file, log.context)), notes=notes)


def _logs(folder: Path) -> Iterator[_Log]:
    """Logs below a folder, by the names of their files, that have their items' features beside them."""
    for file in sorted(path for level in LEVELS for path in folder.glob(f"{level}*.csv*") if path.name.endswith(SUFFIXES)):
        name, place = file.name.partition(".")[0], file.parent
        context = next((place / f"{CONTEXT}{suffix}" for suffix in SUFFIXES if (place / f"{CONTEXT}{suffix}").is_file()), None)
        if context and name in {IMPRESSIONS, place.name}:
            policy = place.resolve() if name == IMPRESSIONS else place.resolve().parent
            yield _Log(policy=policy.name, campaign=name, file=file, context=context)


def _has_columns(file: Path) -> bool:
    with decompression.open_decompressed(file) as content:
        return set(content.readline().decode("utf8", "replace").strip().split(",")) >= NEEDED


def _clicks(log: _Log) -> Source:
    """Click events, with the time of their impression, as the time of the click is not known."""
    impressions = _impressions(log)
    found = impressions.read()
    clicked = pc.equal(found[CLICK], "1")
    rows = found.filter(clicked)
    rows = rows.append_column(schema.EVENT_TYPE, constant(schema.EventType.CLICK, len(rows)))
    rows = rows.rename_columns([schema.EVENT_TIME if name == schema.SHOWN_AT else name for name in rows.column_names])
    kept = tuple(name for name in rows.column_names if name in schema.EVENTS.names)
    clicked_rows = pc.indices_nonzero(clicked).to_pylist()
    return Source(
        file=impressions.file,
        names=kept,
        columns=kept,
        batches=single_batch(rows.select(list(kept))),
        lines=lambda requested: impressions.lines([clicked_rows[row] for row in requested]),
        skipped_rows={NOT_CLICKED: len(found) - len(rows)},
        notes=(SHARED_USERS,),
    )


def _impressions(log: _Log) -> Source:
    """Impressions with propensities, and the column that says whether each was clicked."""
    source = read(log.file, NEEDED)
    found = source.read()
    count = len(found)
    user_features = zip(*(found[name].to_pylist() for name in USER_FEATURES), strict=True)
    columns = {
        schema.REQUEST_ID: pa.array([f"{log.policy}-{row}" for row in range(count)], pa.string()),
        schema.USER_ID: pa.array([_user_id(features) for features in user_features], pa.string()),
        schema.ITEM_ID: found[schema.ITEM_ID],
        schema.POSITION: found[schema.POSITION],
        schema.SHOWN_AT: found[TIME],
        schema.SURFACE: constant(SURFACE, count),
        schema.MODEL_DIGEST: constant(log.policy, count),
        schema.ARM: constant(log.policy, count),
        schema.PROPENSITY: found[PROPENSITY],
        schema.FEATURE_HASH: constant(ANONYMOUS, count),
        CLICK: found[CLICK],
    }
    others = [name for name in source.names if name not in (*columns, TIME, PROPENSITY, *USER_FEATURES)]
    return replace(
        source,
        file=f"{log.policy}/{source.file}",
        names=(*columns, *others),
        columns=tuple(columns),
        batches=single_batch(pa.table(columns)),
        cells=CellOptions(arms=(log.policy,)),
    )


def _user_id(features: tuple[str, ...]) -> str:
    return hashlib.sha256("|".join(features).encode()).hexdigest()[:DIGITS]


def _items(log: _Log) -> Source:
    source = read(log.context, {schema.ITEM_ID, *ITEM_FEATURES})
    found = source.read()
    tags = pc.binary_join_element_wise(*(found[name] for name in ITEM_FEATURES), "|")
    rows = found.select([schema.ITEM_ID]).append_column(schema.TAGS, tags)
    return replace(source, names=tuple(rows.column_names), columns=tuple(rows.column_names), batches=single_batch(rows))
