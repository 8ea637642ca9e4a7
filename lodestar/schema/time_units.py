"""Lengths of time in seconds (`_S`) and microseconds (`_US`), and the time from which timestamps count."""

from datetime import UTC, datetime

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
SECOND_US = 1_000_000
MINUTE_US = MINUTE_S * SECOND_US
HOUR_US = HOUR_S * SECOND_US
DAY_US = DAY_S * SECOND_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
