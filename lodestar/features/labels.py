"""Labels for ranking: what was shown and whether it was taken up; where nothing says what was shown, what was taken beside what was not.

Each row carries the moment at which its features have to be known. Nothing from after the training window is looked at, neither for a row
nor for its label: what was shown counts once its window has closed.
"""

from dataclasses import dataclass

from lodestar import schema

TABLE, LATEST = "labels", "latest_rows"
ROW_ID = "row_id"
CLICK_WINDOW_US = 30 * 60 * 1_000_000


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Which are wanted: at most so many, of before `end_us`, made of impressions if there are any."""

    has_impressions: bool
    end_us: int
    most_rows: int


def latest(wanted: Labels) -> str:
    """SQL of the relation LATEST, which `query` reads: the last rows of what was shown, or else of the events.

    Kept before the rest is looked up, so memory is that of `most_rows`.
    """
    if wanted.has_impressions:
        table, key, moment, before_us = "impressions", schema.REQUEST_ID, schema.SHOWN_AT, wanted.end_us - CLICK_WINDOW_US
    else:
        table, key, moment, before_us = "positive", schema.EVENT_ID, schema.EVENT_TIME, wanted.end_us
    return f"""
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {key}, {moment} AS {schema.FEATURE_TIME}
        FROM {table} WHERE epoch_us({moment}) < {before_us}
        ORDER BY {moment} DESC, {schema.USER_ID}, {schema.ITEM_ID}, {key} LIMIT {wanted.most_rows}"""


def query(wanted: Labels) -> str:
    """SQL for (row_id, user_id, item_id, event_timestamp, label) from LATEST, in order of time."""
    rows = _shown(wanted.end_us) if wanted.has_impressions else _taken(wanted.end_us, wanted.most_rows)
    return f"SELECT row_number() OVER (ORDER BY {schema.FEATURE_TIME}, {schema.USER_ID}, {schema.ITEM_ID}) AS {ROW_ID}, * FROM ({rows})"


def _shown(end_us: int) -> str:
    """An impression is taken up by an event on its item within the window after it, by request."""
    return f"""
        WITH answers AS (
            SELECT {schema.REQUEST_ID}, {schema.ITEM_ID}, epoch_us({schema.EVENT_TIME}) AS answered_us FROM positive
            WHERE {schema.EVENT_TIME} >= (SELECT min({schema.FEATURE_TIME}) FROM {LATEST}) AND epoch_us({schema.EVENT_TIME}) < {end_us})
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.FEATURE_TIME}, EXISTS (
            SELECT 1 FROM answers
            WHERE answers.{schema.REQUEST_ID} = {LATEST}.{schema.REQUEST_ID} AND answers.{schema.ITEM_ID} = {LATEST}.{schema.ITEM_ID}
                AND answered_us - epoch_us({schema.FEATURE_TIME}) BETWEEN 0 AND {CLICK_WINDOW_US}
        )::INTEGER AS {schema.LABEL}
        FROM {LATEST}"""


def _taken(end_us: int, most_rows: int) -> str:
    """Of the latest events each one, and the item of another one at a fixed distance: a negative drawn by popularity of late."""
    return f"""
        WITH numbered AS MATERIALIZED (
            SELECT *, row_number() OVER (ORDER BY md5({schema.EVENT_ID}), {schema.EVENT_ID}) AS place, count(*) OVER () AS total
            FROM {LATEST}),
        drawn AS MATERIALIZED (
            SELECT own.{schema.USER_ID}, other.{schema.ITEM_ID}, own.{schema.FEATURE_TIME}
            FROM numbered AS own JOIN numbered AS other ON other.place = own.place % own.total + 1),
        known AS MATERIALIZED (
            SELECT DISTINCT {schema.USER_ID}, {schema.ITEM_ID}
            FROM positive SEMI JOIN drawn USING ({schema.USER_ID}, {schema.ITEM_ID}) WHERE epoch_us({schema.EVENT_TIME}) < {end_us}),
        pairs AS (
            SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.FEATURE_TIME}, 1 AS {schema.LABEL} FROM {LATEST}
            UNION ALL SELECT *, 0 FROM drawn ANTI JOIN known USING ({schema.USER_ID}, {schema.ITEM_ID}))
        SELECT * FROM pairs ORDER BY {schema.FEATURE_TIME} DESC, {schema.USER_ID}, {schema.ITEM_ID}, {schema.LABEL} LIMIT {most_rows}"""
