"""Order of pipeline runs that publish to one destination: an older run never replaces the version of a newer run."""

from datetime import datetime

from lodestar.errors import EnvironmentFault, UsageError

FORM = "write it as 2026-01-31T06:00:00Z"


def parse_started_at(text: str) -> datetime:
    """Parse the start time of a run, ISO 8601 with an offset from UTC; raises UsageError for anything else."""
    try:
        started_at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a timestamp: {FORM}", code="E327") from error
    if started_at.tzinfo is None:
        raise UsageError(f"{text!r} has no offset from UTC: {FORM}", code="E327")
    return started_at


def is_newer(held: str, started_at: str) -> bool:
    """Whether the run that published the `held` version started after this one; an empty start time is unknown and never newer."""
    return bool(held and started_at) and parse_started_at(held) > parse_started_at(started_at)


def check_run_order(place: object, held: str, started_at: str) -> None:
    """Raise EnvironmentFault E565 if the version at `place` was published by a run that started after this one."""
    if is_newer(held, started_at):
        message = f"{place} has the version of a run that started at {held}, after this one ({started_at})"
        remedy = "Nothing to do, unless that time is in the future because of a wrong clock: then publish to another destination."
        raise EnvironmentFault("E565", message, remedy=remedy)
