"""`lodestar run` and `lodestar compile`: the pipeline as one file, run here or submitted to a cluster."""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli.features import DEFAULT_OUTPUT
from cli.progress_view import record
from lodestar.errors import UsageError
from lodestar.io.private_folders import workspace
from lodestar.process.command_line import OPTIONS, Parser, add_data, add_option, add_recipe
from lodestar.process.option_values import given, local_path, pipeline_path, web_address
from lodestar.process.safe_text import one_line, write_stderr, write_stdout
from lodestar.progress import activity, is_interactive

COMPILED = "pipeline.yaml"
FORCE = '{"evaluation": {"force": true}}'  # what --force overrides
LOCAL_OPTIONS = ("output", "json")
CLUSTER_OPTIONS = ("endpoint", "namespace", "experiment", "run_name", "cron", "destination", "service")


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add `lodestar run` and `lodestar compile` to the command line's parsers.

    Each sets `command` to a function from parsed options to the exit code; libraries are imported when it runs.
    """
    run = commands.add_parser(
        "run",
        help="run the whole pipeline, here or on a cluster",
        description="Run the whole pipeline: validate data, build features, train, compress, evaluate, and release a model that is not "
        "below a baseline. Progress goes to standard error, the result to standard output, whose last line is the path of the bundle, "
        "of the report if none was released, or with --cluster the run's id.",
        examples=[
            "lodestar run",
            """lodestar run --data clicks.csv --recipe sasrec --overrides '{"train": {"epochs": 50}}'""",
            "lodestar run pipeline.yaml --cluster --data s3://bucket/events/ --destination s3://bucket/bundles",
        ],
    )
    run.add_argument(
        "pipeline", nargs="?", type=local_path, metavar="FILE", help="a file that `lodestar compile` wrote (default: compile one)"
    )
    add_data(run, default="simulator")
    add_recipe(run, default=None, help="name of a recipe: see `lodestar recipes` (default: shop for the simulator, else sasrec)")
    add_option(run, "--output", type=local_path, help=f"folder of the run, on this machine (default: {DEFAULT_OUTPUT})")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--force", action="store_true", help="release the model even if the quality gate refuses it, marked as forced")
    run.add_argument("--no-cache", action="store_true", help="run all steps, without cached results")
    run.add_argument("--cluster", action="store_true", help="submit to a Kubeflow Pipelines server instead")
    _add_compilation(run)
    cluster = run.add_argument_group("with --cluster")
    cluster.add_argument("--endpoint", type=web_address, metavar="URL", help="the Pipelines server (default: from kfp's configuration)")
    meaning = f"{OPTIONS['--namespace'].meaning}: the profile's, in multi-user Pipelines (default: none)"
    add_option(cluster, "--namespace", help=meaning)
    cluster.add_argument("--experiment", type=given, metavar="NAME", help="experiment of the run (default: lodestar)")
    cluster.add_argument("--run-name", type=given, metavar="NAME", help="name of the run (default: by the time)")
    meaning = (
        "recurring run by this schedule in UTC: six fields, seconds first, as '0 0 3 * * *', or @daily, '@every 6h' (default: run once)"
    )
    cluster.add_argument("--cron", metavar="FIELDS", help=meaning)
    add_option(cluster, "--destination", help=f"{OPTIONS['--destination'].meaning} (default: nothing is published)")
    add_option(cluster, "--service", help=f"{OPTIONS['--service'].meaning}, for a canary rollout (default: no rollout)")
    run.set_defaults(command=_run, resumes=True)
    compile_ = commands.add_parser(
        "compile",
        help="write pipeline.yaml",
        description="Compile the pipeline; the same code gives the same bytes. Prints the file's path.",
        examples=["lodestar compile --registry registry.example.com/team --memory train=64Gi --output pipeline.yaml"],
    )
    add_option(compile_, "--output", type=pipeline_path, default=Path(COMPILED), help="the compiled pipeline, a YAML file")
    _add_compilation(compile_)
    compile_.set_defaults(command=_compile)


def _add_compilation(parser: Parser) -> None:
    """Add what is compiled into the file."""
    add_option(parser, "--registry", help=f"{OPTIONS['--registry'].meaning} (default: localhost:5000)")
    add_option(parser, "--memory")


def _run(options: argparse.Namespace) -> int:
    _check_options(options)
    with _doing("checking the parameters"):
        parameters = _parameters(options)
    with _pipeline(options) as pipeline:
        _say(f"Pipeline    {options.pipeline or 'compiled now'}", f"sha256      {_sha256(pipeline)}")
        return _submit(pipeline, parameters, options) if options.cluster else _run_here(pipeline, parameters, options)


def _parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The pipeline's parameters, validated for where it runs."""
    from components.execution.parameter_checks import check_run
    from lodestar.data.address import parse_address, parse_mapping
    from lodestar.data.simulator.simulator import SimulatorConfig, is_simulated
    from lodestar.recipes import merge_overrides
    from lodestar.training.distributed.local_workers import check_local_workers

    overrides = merge_overrides([*options.overrides, FORCE] if options.force else options.overrides)
    address = parse_address(options.data, parse_mapping(options.map), options.time_zone)
    if is_simulated(address.path):
        SimulatorConfig.parse(address.path)
    default = "shop" if is_simulated(address.path) else "sasrec"
    recipe = default if options.recipe is None else options.recipe
    parameters: dict[str, Any] = {
        "data": str(address),
        "quarantine": options.quarantine,
        "recipe": recipe,
        "overrides": json.loads(overrides),
        "destination": options.destination or "",
        "service": options.service or "",
    }
    if options.cluster:
        from cli.cluster import check, check_cron

        check(parameters)
        if options.cron is not None:
            check_cron(options.cron)
    loaded_recipe = check_run(recipe=recipe, overrides=overrides, destination=parameters["destination"], service=parameters["service"])
    if not options.cluster:
        check_local_workers(loaded_recipe.train.workers)
    return parameters


def _say(*lines: str) -> None:
    """Write lines to standard error: as they are on a terminal, elsewhere as records with the time."""
    if is_interactive():
        write_stderr("".join(f"{line}\n" for line in lines))
        return
    for line in filter(None, lines):
        record(" ".join(one_line(line).split()))


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Show what is being done: with a spinner on a terminal, elsewhere as a record."""
    if not is_interactive():
        record(what)
        yield
        return
    with activity(what):
        yield


def _check_options(options: argparse.Namespace) -> None:
    """Raise UsageError for options that would be ignored."""
    for name in LOCAL_OPTIONS if options.cluster else CLUSTER_OPTIONS:
        if getattr(options, name):
            condition = "without --cluster only" if options.cluster else "with --cluster only"
            raise UsageError(f"--{name.replace('_', '-')} is {condition}; leave it out", code="E303")
    if options.pipeline and (options.registry or options.memory):
        raise UsageError(
            f"{options.pipeline} has registry and memory compiled in; leave --registry and --memory out, or compile it again", code="E303"
        )


@contextmanager
def _pipeline(options: argparse.Namespace) -> Iterator[Path]:
    """The compiled pipeline: the given FILE, or a temporary one compiled now."""
    if options.pipeline:
        if options.pipeline.exists() and not options.pipeline.is_file():
            raise UsageError(f"{options.pipeline} is no compiled pipeline: give data as --data {options.pipeline}", code="E309")
        if not options.pipeline.is_file():
            raise UsageError(f"no file {options.pipeline}; write it with `lodestar compile --output {options.pipeline}`", code="E302")
        yield options.pipeline
        return
    with workspace() as work:
        pipeline = Path(work) / COMPILED
        with _doing("compiling the pipeline"):
            _compile_file(pipeline, options)
        yield pipeline


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _run_here(pipeline: Path, parameters: dict[str, Any], options: argparse.Namespace) -> int:
    from cli.local import run
    from cli.pipeline_file import unsupported_locally
    from cli.summary import collect, gate_failure, render
    from lodestar.process.descendants import exit_on_sigterm

    output = options.output or Path(DEFAULT_OUTPUT)
    _say("Ignored on this machine:", *(f"  - {setting}" for setting in unsupported_locally(pipeline)), "")
    with exit_on_sigterm():
        outputs = run(pipeline, parameters, output, is_cached=not options.no_cache)
    with _doing("collecting the results"):
        result = collect(outputs, output)
    sys.stdout.write(f"{json.dumps(result) if options.json else render(result)}\n")
    error = gate_failure(result)
    if error is not None:
        raise error
    return 0


def _submit(pipeline: Path, parameters: dict[str, Any], options: argparse.Namespace) -> int:
    from cli.cluster import Submission, submit

    submission = Submission(
        endpoint=options.endpoint or "",
        namespace=options.namespace or "",
        experiment=options.experiment or "lodestar",
        run_name=options.run_name or "",
        cron=options.cron or "",
        is_cached=not options.no_cache,
    )
    if not parameters["destination"]:
        _say("The bundle will not be published without --destination s3://BUCKET/PREFIX.")
    with _doing("submitting the run"):
        run_id = submit(pipeline, parameters, submission)
    write_stdout(f"{run_id}\n")
    return 0


def _compile(options: argparse.Namespace) -> int:
    with _doing("compiling the pipeline"):
        _compile_file(options.output, options)
    _say(f"sha256      {_sha256(options.output)}")
    write_stdout(f"{options.output}\n")
    return 0


def _compile_file(target: Path, options: argparse.Namespace) -> None:
    from components.images.image import REGISTRY
    from lodestar.io import storage
    from pipelines.recommend import compile_to
    from pipelines.resources import memory

    sizes = memory(options.memory)
    storage.refuse_other_file(target)
    with workspace() as folder:
        compile_to(folder / COMPILED, options.registry or REGISTRY, sizes)
        storage.put((folder / COMPILED).read_bytes(), str(target))
