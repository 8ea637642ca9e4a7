"""The order of pipeline runs that publish to one place: an older run never replaces what a newer one has published."""

from datetime import datetime

from lodestar.errors import EnvironmentFault, UsageError

FORM = "write it as 2026-01-31T06:00:00Z"


def parse_started_at(text: str) -> datetime:
    """When a run began, ISO 8601 with its offset from UTC; UsageError where it is anything else."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no moment: {FORM}") from error
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} does not say its offset from UTC: {FORM}")
    return moment


def is_newer(held: str, started_at: str) -> bool:
    """Did the run that published what is held begin after this one? An empty text is a run that did not say, and is never newer."""
    return bool(held and started_at) and parse_started_at(held) > parse_started_at(started_at)


def check_run_order(place: object, held: str, started_at: str) -> None:
    """EnvironmentFault E565 where what `place` holds was published by a run that began after this one."""
    if is_newer(held, started_at):
        message = f"{place} holds what a run made that started at {held}, after this one ({started_at})"
        remedy = "Nothing is to be done, unless that time lies in the future by a wrong clock: then publish to another destination."
        raise EnvironmentFault("E565", message, remedy=remedy)
