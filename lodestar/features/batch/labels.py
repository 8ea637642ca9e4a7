"""Labels for rankers: impressions with the events attributed to them; without impressions, interactions with sampled negatives.

Each row has the time as of which its features must be known. Nothing from its user's training cutoff on is used, for rows, labels or what
is no negative.

    column     of an impression, which needs a closed click window     of an interaction, or a sampled negative
    label      0 or 1, any positive event within half an hour,         1, or 0 for a negative
               and no refusal by then
    bought     0 or 1, a purchase within seven days                    0 or 1, it is a purchase
    completed  0 or 1, a completion within sixty days                  0 or 1, it is a completion
    rating     the highest rating within seven days, else null         its rating, else null

For an impression, `bought` and `completed` are null while their attribution windows are open at the user's cutoff; `rating` is what came
by then.
"""

from dataclasses import dataclass

from lodestar import schema
from lodestar.features.batch.feedback_events import REFUSALS
from lodestar.schema.time_units import DAY_US, MINUTE_US

TABLE, LATEST = "labels", "latest_rows"
CUTOFFS, CUTOFF_US = "training_cutoffs", "cutoff_us"
ROW_ID = "row_id"
CLICK_ATTRIBUTION_US = 30 * MINUTE_US
ATTRIBUTION_WINDOWS_US = {schema.BOUGHT: 7 * DAY_US, schema.COMPLETED: 60 * DAY_US, schema.RATING: 7 * DAY_US}
TYPES = {schema.BOUGHT: schema.EventType.PURCHASE, schema.COMPLETED: schema.EventType.COMPLETE}


@dataclass(frozen=True, kw_only=True)
class LabelQuery:
    """Label query: at most `most_rows` labels before `end_us` (UTC µs), from impressions if there are any.

    The relation CUTOFFS (user_id, cutoff_us) has the training cutoffs (UTC µs) of users whose own is not `end_us`; none is later than that.
    With `has_refusals`, what a user refused is a negative: without impressions, refusals themselves are rows.
    """

    has_impressions: bool
    end_us: int
    most_rows: int
    has_refusals: bool = False


def latest(label_query: LabelQuery) -> str:
    """SQL of the relation LATEST, which `query` reads: the latest impressions, or positive events without impressions.

    It is materialised before events are joined, so that memory is bounded by `most_rows`.
    """
    if label_query.has_impressions:
        table, key, time, window_us, more = "impressions", schema.REQUEST_ID, schema.SHOWN_AT, CLICK_ATTRIBUTION_US, ""
    else:
        table, key, time, window_us, more = "positive", schema.EVENT_ID, schema.EVENT_TIME, 0, f", {schema.EVENT_TYPE}, {schema.RATING}"
    return f"""
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {key}, {time} AS {schema.FEATURE_TIME}, {CUTOFF_US}{more}
        FROM ({_before_cutoff(table, time, label_query.end_us, window_us)})
        ORDER BY {time} DESC, {schema.USER_ID}, {schema.ITEM_ID}, {key} LIMIT {label_query.most_rows}"""


def query(label_query: LabelQuery) -> str:
    """SQL of labels from LATEST: (row_id, user_id, item_id, event_timestamp, label, bought, completed, rating), by time."""
    rows = _impression_labels(label_query.end_us) if label_query.has_impressions else _event_labels(label_query)
    if label_query.has_refusals:
        rows = _without_refused(rows, label_query.end_us)
    return f"SELECT row_number() OVER (ORDER BY {schema.FEATURE_TIME}, {schema.USER_ID}, {schema.ITEM_ID}) AS {ROW_ID}, * FROM ({rows})"


def _before_cutoff(relation: str, time: str, end_us: int, window_us: int = 0) -> str:
    """SQL of the rows of a relation whose `time` is more than `window_us` before their user's training cutoff, with that as CUTOFF_US."""
    return f"""
        SELECT * FROM (
            SELECT {relation}.*, least(coalesce({CUTOFFS}.{CUTOFF_US}, {end_us}), {end_us}) AS {CUTOFF_US}
            FROM {relation} LEFT JOIN {CUTOFFS} ON {CUTOFFS}.{schema.USER_ID} = {relation}.{schema.USER_ID}) AS cut
        WHERE epoch_us({time}) < {CUTOFF_US} - {window_us}"""


def _without_refused(rows: str, end_us: int) -> str:
    """SQL of the labels, 0 where the user had refused the item by the end of the click window."""
    names = ", ".join((schema.BOUGHT, schema.COMPLETED, schema.RATING))
    return f"""
        WITH refused AS MATERIALIZED (
            SELECT {schema.USER_ID}, {schema.ITEM_ID}, min(epoch_us({schema.EVENT_TIME})) AS refused_us
            FROM ({_before_cutoff(REFUSALS, schema.EVENT_TIME, end_us)}) AS refusals GROUP BY {schema.USER_ID}, {schema.ITEM_ID})
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.FEATURE_TIME},
            CASE WHEN refused_us <= epoch_us({schema.FEATURE_TIME}) + {CLICK_ATTRIBUTION_US} THEN 0 ELSE {schema.LABEL} END
            AS {schema.LABEL}, {names}
        FROM ({rows}) LEFT JOIN refused USING ({schema.USER_ID}, {schema.ITEM_ID})"""


def _impression_labels(end_us: int) -> str:
    """SQL of impressions with attributed events: by request id and item, else to the user's last impression of the item (last touch)."""
    labels = ", ".join(
        f"""CASE WHEN max(epoch_us({schema.FEATURE_TIME})) < max({CUTOFF_US}) - {ATTRIBUTION_WINDOWS_US[name]} THEN
                max(CASE WHEN {schema.EVENT_TYPE} = '{event_type}' AND after_us <= {ATTRIBUTION_WINDOWS_US[name]} THEN 1 ELSE 0 END) END AS
                {name}"""
        for name, event_type in TYPES.items()
    )
    return f"""
        WITH answers AS (
            SELECT {schema.EVENT_ID}, {schema.REQUEST_ID}, {schema.USER_ID}, {schema.ITEM_ID}, {schema.EVENT_TYPE}, {schema.RATING},
                {schema.EVENT_TIME}
            FROM ({_before_cutoff("positive", schema.EVENT_TIME, end_us)}) AS trained
            WHERE {schema.EVENT_TIME} >= (SELECT min({schema.FEATURE_TIME}) FROM {LATEST})),
        touches AS (
            SELECT {schema.REQUEST_ID}, {schema.USER_ID}, {schema.ITEM_ID}, min({schema.SHOWN_AT}) AS {schema.SHOWN_AT} FROM impressions
            WHERE {schema.SHOWN_AT} >= (SELECT min({schema.FEATURE_TIME}) FROM {LATEST})
            GROUP BY {schema.REQUEST_ID}, {schema.USER_ID}, {schema.ITEM_ID}),
        requested AS (
            SELECT {schema.REQUEST_ID}, {schema.ITEM_ID}, {schema.EVENT_TYPE}, {schema.RATING}, {schema.EVENT_TIME}
            FROM answers SEMI JOIN touches USING ({schema.REQUEST_ID}, {schema.ITEM_ID})),
        ranked AS (
            SELECT touches.{schema.REQUEST_ID}, touches.{schema.ITEM_ID}, {schema.EVENT_TYPE}, {schema.RATING}, {schema.EVENT_TIME},
                row_number() OVER (
                    PARTITION BY {schema.EVENT_ID} ORDER BY {schema.SHOWN_AT} DESC, touches.{schema.REQUEST_ID} DESC) AS back
            FROM (SELECT * FROM answers ANTI JOIN touches USING ({schema.REQUEST_ID}, {schema.ITEM_ID})) AS others
            JOIN touches ON touches.{schema.USER_ID} = others.{schema.USER_ID} AND touches.{schema.ITEM_ID} = others.{schema.ITEM_ID}
                AND touches.{schema.SHOWN_AT} <= others.{schema.EVENT_TIME}),
        attributed AS (
            SELECT * FROM requested
            UNION ALL SELECT {schema.REQUEST_ID}, {schema.ITEM_ID}, {schema.EVENT_TYPE}, {schema.RATING}, {schema.EVENT_TIME}
            FROM ranked WHERE back = 1),
        come AS (
            SELECT {LATEST}.*, {schema.EVENT_TYPE}, {schema.RATING},
                epoch_us({schema.EVENT_TIME}) - epoch_us({schema.FEATURE_TIME}) AS after_us
            FROM {LATEST} LEFT JOIN attributed ON attributed.{schema.REQUEST_ID} = {LATEST}.{schema.REQUEST_ID}
                AND attributed.{schema.ITEM_ID} = {LATEST}.{schema.ITEM_ID} AND {schema.EVENT_TIME} >= {schema.FEATURE_TIME}
                AND epoch_us({schema.EVENT_TIME}) < {CUTOFF_US})
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.FEATURE_TIME},
            max(CASE WHEN after_us <= {CLICK_ATTRIBUTION_US} THEN 1 ELSE 0 END) AS {schema.LABEL}, {labels},
            max(CASE WHEN after_us <= {ATTRIBUTION_WINDOWS_US[schema.RATING]} THEN {schema.RATING} END) AS {schema.RATING}
        FROM come GROUP BY {schema.USER_ID}, {schema.ITEM_ID}, {schema.FEATURE_TIME}, {schema.REQUEST_ID}"""


def _event_labels(label_query: LabelQuery) -> str:
    """SQL of positives from the latest events, each with a negative in proportion to recent popularity: another event's item.

    Items that the user interacted with before the training cutoff are no negatives. Refusals are negatives too.
    """
    end_us, most_rows = label_query.end_us, label_query.most_rows
    labels = ", ".join(f"CASE WHEN {schema.EVENT_TYPE} = '{event_type}' THEN 1 ELSE 0 END AS {name}" for name, event_type in TYPES.items())
    none = ", ".join(f"0 AS {name}" for name in TYPES)
    refusals = ""
    if label_query.has_refusals:
        refusals = f"""
            UNION ALL SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.EVENT_TIME}, 0, {none}, {schema.RATING}
            FROM ({_before_cutoff(REFUSALS, schema.EVENT_TIME, end_us)}) AS refusals"""
    return f"""
        WITH numbered AS MATERIALIZED (
            SELECT *, row_number() OVER (ORDER BY md5({schema.EVENT_ID}), {schema.EVENT_ID}) AS place, count(*) OVER () AS total
            FROM {LATEST}),
        drawn AS MATERIALIZED (
            SELECT own.{schema.USER_ID}, other.{schema.ITEM_ID}, own.{schema.FEATURE_TIME}
            FROM numbered AS own JOIN numbered AS other ON other.place = own.place % own.total + 1),
        known AS MATERIALIZED (
            SELECT DISTINCT {schema.USER_ID}, {schema.ITEM_ID}
            FROM ({_before_cutoff("positive", schema.EVENT_TIME, end_us)}) AS trained
            SEMI JOIN drawn USING ({schema.USER_ID}, {schema.ITEM_ID})),
        pairs AS (
            SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.FEATURE_TIME}, 1 AS {schema.LABEL}, {labels}, {schema.RATING} FROM {LATEST}
            UNION ALL SELECT *, 0, {none}, NULL FROM drawn ANTI JOIN known USING ({schema.USER_ID}, {schema.ITEM_ID}){refusals})
        SELECT * FROM pairs ORDER BY {schema.FEATURE_TIME} DESC, {schema.USER_ID}, {schema.ITEM_ID}, {schema.LABEL} LIMIT {most_rows}"""
