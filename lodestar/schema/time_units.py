"""Lengths of time in seconds (`_S`) and microseconds (`_US`), the time from which timestamps count, and the time of what never was."""

from datetime import UTC, datetime

MINUTE_S = 60
HOUR_S = 60 * MINUTE_S
DAY_S = 24 * HOUR_S
SECOND_US = 1_000_000
MINUTE_US = MINUTE_S * SECOND_US
HOUR_US = HOUR_S * SECOND_US
DAY_US = DAY_S * SECOND_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = -(2**63)  # UTC µs before every time, and in int64: no time at all. 0 is a time, as logs may begin before 1970
