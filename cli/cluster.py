"""Submission of the compiled pipeline to a Kubeflow Pipelines server, once or by a cron schedule."""

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

from cli.pipeline_file import check_parameters
from lodestar.data.address import parse_address
from lodestar.data.simulator.simulator import is_simulated
from lodestar.errors import EnvironmentFault, UsageError
from lodestar.io.storage import is_pattern, is_remote
from lodestar.process.safe_text import command, quoted
from lodestar.process.suggestions import suggestion
from lodestar.recipes import load_recipe

MAX_CHARACTERS = 10_000  # of all parameters together, a limit of the API server
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Fields of a schedule: name, lowest and highest number, and names of the numbers.
CRON: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("seconds", 0, 59, ()),
    ("minutes", 0, 59, ()),
    ("hours", 0, 23, ()),
    ("days", 1, 31, ()),
    ("months", 1, 12, MONTHS),
    ("weekdays", 0, 6, WEEKDAYS),
)
# A schedule may also be one of these names, or `@every` with a duration of Go, as Pipelines' parser (robfig/cron 1.2) has it.
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
EVERY, UNITS_S = "@every ", {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
DURATION = re.compile(rf"([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(sorted(UNITS_S, key=len, reverse=True))})")
CRON_PART = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Server, namespace, experiment and name of a run; empty values leave them to kfp's own configuration.

    With `cron` (seconds, minutes, hours, days, months, weekdays) it is a recurring run, with one run at a time.
    """

    endpoint: str
    namespace: str
    experiment: str
    run_name: str
    cron: str
    is_cached: bool


def submit(pipeline: Path, parameters: Mapping[str, Any], submission: Submission) -> str:
    """Submit a run or a recurring run; returns its id. kfp's output goes to standard error.

    Raises UsageError if the file has other parameters, EnvironmentFault E520 if the server does not accept the run.
    """
    check_parameters(pipeline, parameters)
    from kfp import Client

    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about servers that kfp no longer supports, on every use
            return _create_run(Client(host=submission.endpoint or None), pipeline, parameters, submission)
    except Exception as error:  # an entry point: kfp and urllib3 raise many kinds
        raise EnvironmentFault(
            "E520", f"the Pipelines server did not accept the run: {error}", remedy="Check --endpoint and your access."
        ) from error


def _create_run(client: Any, pipeline: Path, parameters: Mapping[str, Any], submission: Submission) -> str:
    experiment = client.create_experiment(name=submission.experiment, namespace=submission.namespace or None)
    options = {
        "experiment_id": experiment.experiment_id,
        "job_name": submission.run_name or f"{submission.experiment} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "pipeline_package_path": str(pipeline),
        "params": dict(parameters),
        "enable_caching": None if submission.is_cached else False,
    }
    if submission.cron:
        # By default kfp creates recurring runs disabled, and catches up on missed ones.
        created = client.create_recurring_run(**options, cron_expression=submission.cron, enabled=True, no_catchup=True, max_concurrency=1)
        return str(created.recurring_run_id)
    return str(client.run_pipeline(**options).run_id)


def check(parameters: Mapping[str, Any]) -> None:
    """Validate parameters for a cluster; raises UsageError if the server would refuse them, or pods could not reach their addresses."""
    path = parse_address(parameters["data"]).path
    if not is_simulated(path):
        _refuse_local(path, "--data")
    if parameters["destination"] and not is_remote(parameters["destination"]):
        raise UsageError(
            f"{parameters['destination']} would be a folder in a pod, lost when it ends: give a destination such as s3://BUCKET/bundles",
            code="E314",
        )
    length = len(json.dumps(parameters))
    if length > MAX_CHARACTERS:
        overrides = len(json.dumps(parameters["overrides"]))
        raise UsageError(
            f"the parameters have {length:,} characters, {overrides:,} of them overrides, and Pipelines allows {MAX_CHARACTERS:,}: "
            "leave out overrides that equal the recipe's values, or add a recipe to lodestar/recipes.py",
            code="E313",
        )
    for name, start in load_recipe(parameters["recipe"], parameters["overrides"]).train.addresses.items():
        _refuse_local(start, f"train.{name}")


def check_cron(cron: str) -> None:
    """Validate a schedule; raises UsageError unless it has the six fields of Pipelines with values in range, or is one of its names.

    Five fields, as in crontab, are refused: Pipelines would read the first as seconds, so that a nightly run starts every hour.
    """
    if cron.startswith("@"):
        _check_descriptor(cron)
        return
    fields = cron.split()
    if len(fields) != len(CRON):
        fix = command(["--cron", f"0 {' '.join(fields)}"]) if len(fields) == len(CRON) - 1 else "--cron '0 0 3 * * *' for every night at 3"
        names = ", ".join(name for name, *_ in CRON)
        raise UsageError(f"the schedule {cron!r} has {len(fields)} fields, and Pipelines needs six ({names}): give {fix}", code="E312")
    for field, (name, low, high, words) in zip(fields, CRON, strict=True):
        parts = [part for part in field.split(",") if part]
        if not parts or not all(_is_in(part, low, high, words) for part in parts):
            named = f" or {words[0]}-{words[-1]}" if words else ""
            raise UsageError(
                f"{field!r} is not valid for the {name} of a schedule: give {low}-{high}{named}, *, or lists and steps of these",
                code="E312",
            )


def _check_descriptor(cron: str) -> None:
    """Raise UsageError for a name that Pipelines does not know, or a period below a second, which it would lengthen to one."""
    if cron in DESCRIPTORS:
        return
    duration = cron.removeprefix(EVERY)
    parts = DURATION.findall(duration) if cron.startswith(EVERY) else []
    if not parts or "".join(map("".join, parts)) != duration or sum(float(number) * UNITS_S[unit] for number, unit in parts) < 1:
        names = ", ".join(DESCRIPTORS)
        near = suggestion(cron, DESCRIPTORS) or "."
        raise UsageError(f"{quoted(cron)} is no schedule{near} Give one of {names}, or a period, such as '@every 1h30m'", code="E312")


def _is_in(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    """Whether a part of a field is `*`, a number or a range within the bounds, with or without a step."""
    found = CRON_PART.fullmatch(part)
    if found is None or (found["step"] and int(found["step"]) == 0):
        return False
    number = {word: low + index for index, word in enumerate(words)} | {str(value): value for value in range(low, high + 1)}
    ends = [number.get(end.lower().lstrip("0") or "0", low - 1) for end in (found["first"], found["last"]) if end]
    return ends == sorted(ends) and all(end >= low for end in ends)


def _refuse_local(path: str, option: str) -> None:
    """Raise UsageError for a local path, with the command that copies it to S3; also if it does not exist."""
    if is_remote(path):
        return
    exists = Path(path).exists()
    if not exists and not (is_pattern(path) and glob(path, recursive=True)):
        raise UsageError(f"there is no file or folder {path}; give {option} an existing path, or an s3:// address", code="E302")
    source, pattern = (Path(path), "") if exists else _split_pattern(Path(path))
    target = f"s3://BUCKET/{source.resolve().name}"
    recursive = ["--recursive"] if source.is_dir() else []
    filters = ["--exclude", "*", "--include", pattern] if pattern else []
    copy = command(["aws", "s3", "cp", *recursive, str(source.resolve()), target, *filters])
    value = command([f"{target}/{pattern}" if pattern else target])
    raise UsageError(f"{path} is on this machine, which pods cannot read: copy it with `{copy}`, and give {option} {value}", code="E314")


def _split_pattern(pattern: Path) -> tuple[Path, str]:
    """The folder above the first wildcard, and the pattern below it."""
    first = next(index for index, part in enumerate(pattern.parts) if is_pattern(part))
    return Path(*pattern.parts[:first]), str(Path(*pattern.parts[first:]))
