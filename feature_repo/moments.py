"""Moments as whole microseconds since 1970, which compare exactly: Feast keeps them to the second in one store, as floats in another."""

from datetime import UTC, datetime, timedelta

from feast.utils import make_tzaware

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
NEVER = -(2**63)  # before all of them: when what is not known became known


def moment(microseconds: int) -> datetime:
    """Of UTC µs."""
    return EPOCH + microseconds * MICROSECOND


def microseconds(moment: datetime | None) -> int:
    """UTC µs; a moment without a zone is in UTC, as everywhere in Feast."""
    return NEVER if moment is None else (make_tzaware(moment) - EPOCH) // MICROSECOND
