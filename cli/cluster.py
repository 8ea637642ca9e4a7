"""Submit the compiled pipeline to a Kubeflow Pipelines server."""

import contextlib
import json
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import glob
from pathlib import Path
from typing import Any

from cli.compiled import check_parameters
from lodestar.data import address
from lodestar.data.simulator import is_simulated
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.recipes import configured
from lodestar.safe_text import command
from lodestar.storage import is_pattern, is_remote

MOST_CHARACTERS = 10_000  # of all parameters together: the API server refuses more
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# What each field of a schedule counts, from and to, and names for these numbers.
CRON: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("seconds", 0, 59, ()),
    ("minutes", 0, 59, ()),
    ("hours", 0, 23, ()),
    ("days", 1, 31, ()),
    ("months", 1, 12, MONTHS),
    ("weekdays", 0, 6, WEEKDAYS),
)
CRON_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Where a run goes and what it is called; empty texts leave it to kfp's own configuration.

    With `cron` (seconds, minutes, hours, days, months, weekdays) it is a recurring run, of which one is under way at a time.
    """

    endpoint: str
    namespace: str
    experiment: str
    run_name: str
    cron: str
    is_cached: bool


def submit(pipeline: Path, parameters: Mapping[str, Any], submission: Submission) -> str:
    """The id of the run, or of the recurring run; what kfp prints goes to the error stream.

    UsageError where the file takes other parameters; EnvironmentFault E520 where the server does not take the run.
    """
    check_parameters(pipeline, parameters)
    from kfp import Client

    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # which servers kfp no longer speaks to, said on every use
            return _created(Client(host=submission.endpoint or None), pipeline, parameters, submission)
    except Exception as error:  # an entry point: kfp and urllib3 raise many kinds
        raise EnvironmentFault(
            "E520", f"the Pipelines server did not take the run: {error}", remedy="Check --endpoint and your access."
        ) from error


def _created(client: Any, pipeline: Path, parameters: Mapping[str, Any], submission: Submission) -> str:
    experiment = client.create_experiment(name=submission.experiment, namespace=submission.namespace or None)
    what = {
        "experiment_id": experiment.experiment_id,
        "job_name": submission.run_name or f"{submission.experiment} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "pipeline_package_path": str(pipeline),
        "params": dict(parameters),
        "enable_caching": None if submission.is_cached else False,
    }
    if submission.cron:
        # kfp's own command makes one that is switched off, and catches up on nights that were missed.
        made = client.create_recurring_run(**what, cron_expression=submission.cron, enabled=True, no_catchup=True, max_concurrency=1)
        return str(made.recurring_run_id)
    return str(client.run_pipeline(**what).run_id)


def check(parameters: Mapping[str, Any]) -> None:
    """UsageError, with what to do, where a server would refuse the parameters, or pods could not read or write what they name."""
    path = address.parse(parameters["data"]).path
    if not is_simulated(path):
        _refuse_local(path, "--data")
    if parameters["destination"] and not is_remote(parameters["destination"]):
        raise UsageError(
            f"{parameters['destination']} would be a folder of a pod, gone with it: give a destination such as s3://BUCKET/bundles"
        )
    length = len(json.dumps(parameters))
    if length > MOST_CHARACTERS:
        overrides = len(json.dumps(parameters["overrides"]))
        raise UsageError(
            f"the parameters have {length:,} characters, {overrides:,} of them overrides, and Pipelines takes {MOST_CHARACTERS:,}: "
            "leave out what the recipe has already, or add a recipe of your own to lodestar/recipes.py"
        )
    for name, start in configured(parameters["recipe"], parameters["overrides"]).train.addresses.items():
        _refuse_local(start, f"train.{name}")


def check_cron(cron: str) -> None:
    """UsageError where a schedule has not the six fields that Pipelines takes, or a field has what it cannot be.

    The first of five fields, as crontab has them, may be taken for seconds: what was meant for every night begins every hour.
    """
    fields = cron.split()
    if len(fields) != len(CRON):
        way = command(["--cron", f"0 {' '.join(fields)}"]) if len(fields) == len(CRON) - 1 else "--cron '0 0 3 * * *' for every night at 3"
        names = ", ".join(name for name, *_ in CRON)
        raise UsageError(f"the schedule {cron!r} has {len(fields)} fields, and Pipelines takes six ({names}): give {way}")
    for field, (name, low, high, words) in zip(fields, CRON, strict=True):
        if not all(_is_in(part, low, high, words) for part in field.split(",")):
            named = f" or {words[0]}-{words[-1]}" if words else ""
            raise UsageError(f"{field!r} is none of the {name} of a schedule: give {low}-{high}{named}, *, or lists and steps of these")


def _is_in(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    """Whether it is `*`, a number or a range between these, with or without a step."""
    found = CRON_PART.fullmatch(part)
    if found is None or (found["step"] and int(found["step"]) == 0):
        return False
    number = {word: low + place for place, word in enumerate(words)} | {str(value): value for value in range(low, high + 1)}
    ends = [number.get(end.lower().lstrip("0") or "0", low - 1) for end in (found["first"], found["last"]) if end]
    return ends == sorted(ends) and all(end >= low for end in ends)


def _refuse_local(path: str, option: str) -> None:
    """UsageError with the command that copies a path of this machine to where pods read it, or that nothing is there."""
    if is_remote(path):
        return
    is_one = Path(path).exists()
    if not is_one and not (is_pattern(path) and glob(path, recursive=True)):
        raise UsageError(f"there is no file or folder {path}; give {option} what is there, or an s3:// address")
    place, pattern = (Path(path), "") if is_one else _above(Path(path))
    copied = f"s3://BUCKET/{place.resolve().name}"
    some = ["--recursive"] if place.is_dir() else []
    chosen = ["--exclude", "*", "--include", pattern] if pattern else []
    copy = command(["aws", "s3", "cp", *some, str(place.resolve()), copied, *chosen])
    given = command([f"{copied}/{pattern}" if pattern else copied])
    raise UsageError(f"{path} is on this machine, where no pod reads it: copy it with `{copy}`, and give {option} {given}")


def _above(pattern: Path) -> tuple[Path, str]:
    """The folder above the first wildcard, and the pattern below it."""
    first = next(place for place, part in enumerate(pattern.parts) if is_pattern(part))
    return Path(*pattern.parts[:first]), str(Path(*pattern.parts[first:]))
