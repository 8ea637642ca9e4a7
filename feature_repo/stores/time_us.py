"""Times as whole microseconds since 1970, which compare exactly: Feast rounds to seconds in one store, and uses floats in another."""

from datetime import datetime, timedelta

from feast.utils import make_tzaware

from lodestar.schema.time_units import EPOCH, NEVER

MICROSECOND = timedelta(microseconds=1)


def to_datetime(microseconds: int) -> datetime:
    """The datetime of UTC µs."""
    return EPOCH + microseconds * MICROSECOND


def microseconds(time: datetime | None) -> int:
    """UTC µs of a datetime; one without a zone is in UTC, as everywhere in Feast; NEVER for None."""
    return NEVER if time is None else (make_tzaware(time) - EPOCH) // MICROSECOND
