"""Labels for ranking: what was shown and whether it was taken up; where nothing says what was shown, what was taken beside what was not.

Each row carries the moment at which its features have to be known; rows after the training window are never made.
"""

from typing import Any

from lodestar import schema

TABLE = "labels"
ROW_ID = "row_id"
CLICK_WINDOW = "INTERVAL 30 MINUTE"


def query(database: Any, end_us: int, most_rows: int) -> str:
    """SQL for (row_id, user_id, item_id, event_timestamp, label), the latest `most_rows` before `end_us`, in order of time."""
    has_impressions = database.execute("SELECT EXISTS (SELECT 1 FROM impressions)").fetchone()[0]
    rows = _shown(end_us, most_rows) if has_impressions else _latest(_taken(), schema.FEATURE_TIME, end_us, most_rows)
    return f"SELECT row_number() OVER (ORDER BY {schema.FEATURE_TIME}, {schema.USER_ID}, {schema.ITEM_ID}) AS {ROW_ID}, * FROM ({rows})"


def _latest(rows: str, moment: str, end_us: int, most_rows: int) -> str:
    order = f"{moment} DESC, {schema.USER_ID}, {schema.ITEM_ID}"
    return f"SELECT * FROM ({rows}) WHERE epoch_us({moment}) < {end_us} ORDER BY {order} LIMIT {most_rows}"


def _shown(end_us: int, most_rows: int) -> str:
    """An impression is taken up by an event on its item within the window after it, by request; only the latest are looked up."""
    latest = _latest(
        f"SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.REQUEST_ID}, {schema.SHOWN_AT} FROM impressions",
        schema.SHOWN_AT,
        end_us,
        most_rows,
    )
    return f"""
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.SHOWN_AT} AS {schema.FEATURE_TIME}, EXISTS (
            SELECT 1 FROM positive
            WHERE positive.{schema.REQUEST_ID} = shown.{schema.REQUEST_ID} AND positive.{schema.ITEM_ID} = shown.{schema.ITEM_ID}
                AND positive.{schema.EVENT_TIME} BETWEEN shown.{schema.SHOWN_AT} AND shown.{schema.SHOWN_AT} + {CLICK_WINDOW}
        )::INTEGER AS {schema.LABEL}
        FROM ({latest}) AS shown"""


def _taken() -> str:
    """Each event, and the item that another user's event at a fixed distance in the log is about: a negative drawn by popularity."""
    return f"""
        WITH numbered AS (
            SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.EVENT_TIME},
                row_number() OVER (ORDER BY hash({schema.EVENT_ID}), {schema.EVENT_ID}) AS place, count(*) OVER () AS total
            FROM positive),
        taken AS (SELECT DISTINCT {schema.USER_ID}, {schema.ITEM_ID} FROM positive)
        SELECT {schema.USER_ID}, {schema.ITEM_ID}, {schema.EVENT_TIME} AS {schema.FEATURE_TIME}, 1 AS {schema.LABEL} FROM numbered
        UNION ALL
        SELECT own.{schema.USER_ID}, other.{schema.ITEM_ID}, own.{schema.EVENT_TIME}, 0
        FROM numbered AS own JOIN numbered AS other ON other.place = own.place % own.total + 1
        WHERE NOT EXISTS (
            SELECT 1 FROM taken WHERE taken.{schema.USER_ID} = own.{schema.USER_ID} AND taken.{schema.ITEM_ID} = other.{schema.ITEM_ID})"""
