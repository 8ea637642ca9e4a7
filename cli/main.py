"""The `lodestar` command: compile, run and serve."""

import argparse
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from cli import data, features, tuning
from cli.features import DEFAULT_OUTPUT
from lodestar.errors import LodestarError

SIMULATOR = "simulator"
# Commands that read their own options: they are commands without `lodestar` as well, in images that hold nothing else.
FORWARDED = {
    "serve": ("serving.__main__", "answer requests from a bundle"),
    "collect": ("serving.collector", "take events in over HTTP or from Kafka"),
    "simulate": ("lodestar.data.simulator", "write a simulated shop's tables, as large as you like"),
    "rollout": ("serving.rollout", "move an InferenceService to a new bundle, by shares"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code says what kind of trouble there was (0 ok, 2 usage, 3 data, 4 gate, 5 environment)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in FORWARDED:
        module, _ = FORWARDED[arguments[0]]
        return int(import_module(module).main(arguments[1:]))
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except LodestarError as error:
        print(f"lodestar: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lodestar: stopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lodestar",
        description="Behaviour logs and a catalogue in; personalised recommendations out, on a laptop or on Kubernetes.",
        epilog="Exit codes: 0 ok, 2 usage, 3 data, 4 a gate refused, 5 environment.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _run_parser(commands)
    _compile_parser(commands)
    data.add(commands)
    features.add(commands)
    tuning.add(commands)
    for name, (_, meaning) in FORWARDED.items():
        commands.add_parser(name, help=meaning)
    _recipes_parser(commands)
    return parser


def _run_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser("run", help="run the whole pipeline, here or on a cluster", description="Run the compiled pipeline.")
    run.add_argument(
        "--data", default=SIMULATOR, metavar="PATH", help="folder of tables, a dataset's folder, one file of events (default: simulator)"
    )
    run.add_argument("--map", action="append", default=[], metavar="OURS=THEIRS", help="the data call our column theirs (repeatable)")
    run.add_argument("--quarantine", action="store_true", help="set bad rows aside and go on with the good ones")
    run.add_argument("--recipe", metavar="NAME", help="see `lodestar recipes` (default: shop for the simulator, else sasrec)")
    run.add_argument("--overrides", default="{}", metavar="JSON", help='values to replace, such as {"train": {"epochs": 3}}')
    run.add_argument("--output", type=Path, default=Path(DEFAULT_OUTPUT), metavar="DIR", help="where results go (default: %(default)s)")
    run.add_argument("--json", action="store_true", help="print the result as one JSON object")
    run.add_argument("--cluster", action="store_true", help="submit to a Kubeflow Pipelines server instead")
    run.add_argument("--endpoint", default="", metavar="URL", help="the server, with --cluster")
    run.add_argument("--destination", default="", metavar="ADDRESS", help="s3:// address for bundles, with --cluster")
    run.add_argument("--service", default="", metavar="NAME", help="InferenceService to update, with --cluster")
    run.add_argument("--registry", metavar="HOST/PATH", help="registry of the images, with --cluster")
    run.set_defaults(command=_run)


def _compile_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    compile_ = commands.add_parser("compile", help="write pipeline.yaml", description="Compile the pipeline: same code, same bytes.")
    compile_.add_argument("--output", type=Path, default=Path("pipeline.yaml"), metavar="FILE", help="default: %(default)s")
    compile_.add_argument("--registry", metavar="HOST/PATH", help="registry that holds the images")
    compile_.set_defaults(command=_compile)


def _recipes_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    recipes = commands.add_parser("recipes", help="list the recipes", description="Named runs, with what they are for.")
    recipes.set_defaults(command=_recipes)


def _run(options: argparse.Namespace) -> int:
    from cli.local import Arguments, ignored, run
    from lodestar.recipes import configured

    recipe = options.recipe or ("shop" if options.data.startswith(SIMULATOR) else "sasrec")
    configured(recipe, options.overrides)
    options.data = _data(options)
    if options.cluster:
        return _submit(options, recipe)
    arguments = Arguments(data=options.data, recipe=recipe, overrides=options.overrides)
    with tempfile.TemporaryDirectory() as work:
        pipeline = Path(work) / "pipeline.yaml"
        _compile_file(pipeline, options.registry)
        print(f"Ignored on this machine: {'; '.join(ignored(pipeline))}.", file=sys.stderr)
        outputs = run(pipeline, arguments, options.output)
        return _conclude(options, outputs)


def _data(options: argparse.Namespace) -> str:
    """The data's address with what the other options say about it."""
    from lodestar.data.address import Address, pairs, parse

    asked = parse(options.data)
    mapping = {**asked.mapping, **pairs(options.map)}
    return str(Address(path=asked.path, mapping=mapping, quarantine=asked.quarantine or options.quarantine))


def _conclude(options: argparse.Namespace, outputs: dict[str, Path]) -> int:
    from cli.summary import collect, refusal, shown

    result = collect(outputs, options.output)
    print(json.dumps(result) if options.json else shown(result))
    error = refusal(result)
    if error is not None:
        raise error
    return 0


def _submit(options: argparse.Namespace, recipe: str) -> int:
    from cli.cluster import submit

    parameters = {"data": options.data, "recipe": recipe, "overrides": options.overrides, "service": options.service}
    if options.destination:
        parameters["destination"] = options.destination
    with tempfile.TemporaryDirectory() as work:
        pipeline = Path(work) / "pipeline.yaml"
        _compile_file(pipeline, options.registry)
        print(submit(pipeline, parameters, options.endpoint))
    return 0


def _compile(options: argparse.Namespace) -> int:
    _compile_file(options.output, options.registry)
    print(options.output)
    return 0


def _compile_file(target: Path, registry: str | None) -> None:
    from components.image import REGISTRY
    from pipelines.recommend import compile_to

    compile_to(target, registry or REGISTRY)


def _recipes(_options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from lodestar.config import COUNTED_FAMILIES
    from lodestar.recipes import LARGER_MODEL, MEASURED, RECIPES, SIZED, SIZES

    larger = " and ".join(f"NAME-{name} (vectors of {size['dim']}, {size['layers']} layers)" for name, size in SIZES.items())
    caption = (
        "figures: HR@10 and NDCG@10 on MovieLens-100K, the last item of each user, all items ranked; size: numbers of an item, and counted "
        f"neighbours beside a learnt model; events: the least to learn from\n{larger}, with histories of {LARGER_MODEL['max_length']} and "
        f"for a GPU, are there of {', '.join(SIZED)}"
    )
    table = Table(caption=caption, caption_justify="left", box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for heading in ("figures", "size", "events"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what it is")
    for name, make in RECIPES.items():
        made, figures = make(), " ".join(f"{value:.4f}".lstrip("0") for value in MEASURED.get(name, ()))
        size = f"{'≤' * (made.model.family in COUNTED_FAMILIES)}{made.model.dim:,}"
        size += f"+{made.model.neighbours}" if made.model.neighbours else ""
        table.add_row(name, figures, size, f"{made.data.min_interactions:,}", (make.__doc__ or "").strip())
    Console().print(table)
    return 0
