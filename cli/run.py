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
from lodestar.private import workspace

HERE, THERE = ("output", "json"), ("endpoint", "namespace", "experiment", "run_name", "cron", "destination", "service")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The two commands with their options."""
    run = commands.add_parser("run", help="run the whole pipeline, here or on a cluster", description="Run the compiled pipeline.")
    run.add_argument("pipeline", nargs="?", type=Path, metavar="FILE", help="a file that `lodestar compile` wrote (default: compile one)")
    run.add_argument(
        "--data", default="simulator", metavar="PATH", help="folder of tables, a dataset's folder, one file of events (default: simulator)"
    )
    run.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="the data call our column theirs (repeatable)")
    run.add_argument("--quarantine", action="store_true", help="set bad rows aside and go on with the good ones")
    run.add_argument("--recipe", metavar="NAME", help="see `lodestar recipes` (default: shop for the simulator, else sasrec)")
    run.add_argument(
        "--overrides", action="append", default=[], metavar="JSON", help='values to replace, such as {"train": {"epochs": 3}} (repeatable)'
    )
    run.add_argument("--registry", metavar="HOST/PATH", help="registry of the images, where no FILE says it")
    run.add_argument("--output", type=Path, metavar="DIR", help=f"where results go on this machine (default: {DEFAULT_OUTPUT})")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--no-cache", action="store_true", help="run every step, cached or not")
    run.add_argument("--cluster", action="store_true", help="submit to a Kubeflow Pipelines server instead; prints the run's id")
    there = run.add_argument_group("with --cluster")
    there.add_argument("--endpoint", metavar="URL", help="the server (default: what kfp's own configuration names)")
    there.add_argument("--namespace", metavar="NAME", help="the profile's namespace, where Pipelines has several users")
    there.add_argument("--experiment", metavar="NAME", help="experiment of the run (default: lodestar)")
    there.add_argument("--run-name", metavar="NAME", help="what the run is called (default: by the time)")
    there.add_argument(
        "--cron", metavar="FIELDS", help='begin a run by this schedule, seconds first: "0 0 3 * * *" for every night at 3 (UTC)'
    )
    there.add_argument("--destination", metavar="ADDRESS", help="s3:// address for bundles (default: none, and nothing is published)")
    there.add_argument("--service", metavar="NAME", help="InferenceService to update, as NAMESPACE/NAME")
    run.set_defaults(command=_run)
    compile_ = commands.add_parser("compile", help="write pipeline.yaml", description="Compile the pipeline: same code, same bytes.")
    compile_.add_argument("--output", type=Path, default=Path("pipeline.yaml"), metavar="FILE", help="default: %(default)s")
    compile_.add_argument("--registry", metavar="HOST/PATH", help="registry that holds the images")
    for command in (run, compile_):
        command.add_argument(
            "--memory", action="append", default=[], metavar="STEP=SIZE", help="what a step is given, such as train=64Gi (repeatable)"
        )
    compile_.set_defaults(command=_compile)


def _run(options: argparse.Namespace) -> int:
    from components.run_checks import check_run
    from lodestar.data.address import parse
    from lodestar.data.simulator import is_simulated
    from lodestar.recipes import merge_overrides

    _check_options(options)
    overrides = merge_overrides(options.overrides)
    recipe = options.recipe or ("shop" if is_simulated(parse(options.data).path) else "sasrec")
    parameters = {
        "data": _data(options),
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
    """No option that is given is ignored."""
    for name in HERE if options.cluster else THERE:
        if getattr(options, name):
            where = "without --cluster only" if options.cluster else "with --cluster only"
            raise UsageError(f"--{name.replace('_', '-')} is {where}; leave it out")
    if options.pipeline and (options.registry or options.memory):
        raise UsageError(f"{options.pipeline} says where its steps run; leave --registry and --memory out, or compile it again with them")


def _data(options: argparse.Namespace) -> str:
    """The data's address with the columns that have another name there."""
    from dataclasses import replace

    from lodestar.data.address import pairs, parse

    asked = parse(options.data)
    return str(replace(asked, mapping={**asked.mapping, **pairs(options.map)}))


@contextmanager
def _pipeline(options: argparse.Namespace) -> Iterator[Path]:
    """The file that runs: the one that was given, or one that is compiled now."""
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
    from cli.compiled import ignored
    from cli.local import run
    from cli.summary import collect, refusal, shown
    from components.termination import unwinding

    output = options.output or Path(DEFAULT_OUTPUT)
    print(f"Ignored on this machine: {'; '.join(ignored(pipeline))}.", file=sys.stderr)
    with unwinding():
        outputs = run(pipeline, parameters, output, is_cached=not options.no_cache)
    result = collect(outputs, output)
    print(json.dumps(result) if options.json else shown(result))
    error = refusal(result)
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
        print("Nothing will be published: give --destination s3://BUCKET/PREFIX for that.", file=sys.stderr)
    print(submit(pipeline, parameters, submission))
    return 0


def _compile(options: argparse.Namespace) -> int:
    _compile_file(options.output, options)
    print(f"Pipeline    sha256 {_sha256(options.output)}", file=sys.stderr)
    print(options.output)
    return 0


def _compile_file(target: Path, options: argparse.Namespace) -> None:
    from components.image import REGISTRY
    from pipelines.recommend import compile_to
    from pipelines.resources import memory

    compile_to(target, options.registry or REGISTRY, memory(options.memory))
