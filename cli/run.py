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
from lodestar.errors import UsageError
from lodestar.io.private_folders import workspace

LOCAL_OPTIONS = ("output", "json")
CLUSTER_OPTIONS = ("endpoint", "namespace", "experiment", "run_name", "cron", "destination", "service")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lodestar run` and `lodestar compile` to the command line's parsers.

    Each sets `command` to a function from parsed options to the exit code; libraries are imported when it runs.
    """
    run = commands.add_parser("run", help="run the whole pipeline, here or on a cluster", description="Run the compiled pipeline.")
    run.add_argument("pipeline", nargs="?", type=Path, metavar="FILE", help="a file that `lodestar compile` wrote (default: compile one)")
    run.add_argument(
        "--data", default="simulator", metavar="PATH", help="folder of tables, a dataset's folder, one file of events (default: simulator)"
    )
    run.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="read column THEIRS as OURS (repeatable)")
    run.add_argument("--quarantine", action="store_true", help="quarantine rows with errors and go on with the valid ones")
    run.add_argument("--recipe", metavar="NAME", help="see `lodestar recipes` (default: shop for the simulator, else sasrec)")
    run.add_argument(
        "--overrides", action="append", default=[], metavar="JSON", help='values to replace, such as {"train": {"epochs": 3}} (repeatable)'
    )
    run.add_argument("--registry", metavar="HOST/PATH", help="registry of the images (without FILE)")
    run.add_argument("--output", type=Path, metavar="DIR", help=f"output directory on this machine (default: {DEFAULT_OUTPUT})")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--no-cache", action="store_true", help="run all steps, without cached results")
    run.add_argument("--cluster", action="store_true", help="submit to a Kubeflow Pipelines server instead; prints the run's id")
    cluster = run.add_argument_group("with --cluster")
    cluster.add_argument("--endpoint", metavar="URL", help="the Pipelines server (default: from kfp's configuration)")
    cluster.add_argument("--namespace", metavar="NAME", help="the profile's namespace, in multi-user Pipelines")
    cluster.add_argument("--experiment", metavar="NAME", help="experiment of the run (default: lodestar)")
    cluster.add_argument("--run-name", metavar="NAME", help="name of the run (default: by the time)")
    cluster.add_argument(
        "--cron", metavar="FIELDS", help='recurring run by this schedule, seconds first: "0 0 3 * * *" for every night at 3 (UTC)'
    )
    cluster.add_argument("--destination", metavar="ADDRESS", help="s3:// address to publish bundles to (default: none)")
    cluster.add_argument("--service", metavar="NAME", help="InferenceService for a canary rollout, as NAMESPACE/NAME")
    run.set_defaults(command=_run)
    compile_ = commands.add_parser(
        "compile", help="write pipeline.yaml", description="Compile the pipeline; the same code gives the same bytes."
    )
    compile_.add_argument("--output", type=Path, default=Path("pipeline.yaml"), metavar="FILE", help="default: %(default)s")
    compile_.add_argument("--registry", metavar="HOST/PATH", help="registry that holds the images")
    for command in (run, compile_):
        command.add_argument(
            "--memory", action="append", default=[], metavar="STEP=SIZE", help="memory of a step, such as train=64Gi (repeatable)"
        )
    compile_.set_defaults(command=_compile)


def _run(options: argparse.Namespace) -> int:
    from components.execution.parameter_checks import check_run
    from lodestar.data.address import parse_address, parse_mapping
    from lodestar.data.simulator.simulator import is_simulated
    from lodestar.recipes import merge_overrides

    _check_options(options)
    overrides = merge_overrides(options.overrides)
    address = parse_address(options.data, parse_mapping(options.map))
    recipe = options.recipe or ("shop" if is_simulated(address.path) else "sasrec")
    parameters = {
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
    check_run(recipe=recipe, overrides=overrides, destination=parameters["destination"], service=parameters["service"])
    with _pipeline(options) as pipeline:
        print(f"Pipeline    {options.pipeline or 'compiled now'}, sha256 {_sha256(pipeline)}", file=sys.stderr)
        return _submit(pipeline, parameters, options) if options.cluster else _run_here(pipeline, parameters, options)


def _check_options(options: argparse.Namespace) -> None:
    """Raise UsageError for options that would be ignored."""
    for name in LOCAL_OPTIONS if options.cluster else CLUSTER_OPTIONS:
        if getattr(options, name):
            condition = "without --cluster only" if options.cluster else "with --cluster only"
            raise UsageError(f"--{name.replace('_', '-')} is {condition}; leave it out")
    if options.pipeline and (options.registry or options.memory):
        raise UsageError(f"{options.pipeline} has registry and memory compiled in; leave --registry and --memory out, or compile it again")


@contextmanager
def _pipeline(options: argparse.Namespace) -> Iterator[Path]:
    """The compiled pipeline: the given FILE, or a temporary one compiled now."""
    if options.pipeline:
        if not options.pipeline.is_file():
            raise UsageError(f"no file {options.pipeline}; write it with `lodestar compile --output {options.pipeline}`")
        yield options.pipeline
        return
    with workspace() as work:
        pipeline = Path(work) / "pipeline.yaml"
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
    print(f"Ignored on this machine: {'; '.join(unsupported_locally(pipeline))}.", file=sys.stderr)
    with exit_on_sigterm():
        outputs = run(pipeline, parameters, output, is_cached=not options.no_cache)
    result = collect(outputs, output)
    print(json.dumps(result) if options.json else render(result))
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
        print("The bundle will not be published without --destination s3://BUCKET/PREFIX.", file=sys.stderr)
    print(submit(pipeline, parameters, submission))
    return 0


def _compile(options: argparse.Namespace) -> int:
    _compile_file(options.output, options)
    print(f"Pipeline    sha256 {_sha256(options.output)}", file=sys.stderr)
    print(options.output)
    return 0


def _compile_file(target: Path, options: argparse.Namespace) -> None:
    from components.images.image import REGISTRY
    from pipelines.recommend import compile_to
    from pipelines.resources import memory

    compile_to(target, options.registry or REGISTRY, memory(options.memory))
