"""`lodestar features`: build features, and test them for target leakage and training-serving skew."""

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

from lodestar.io.private_folders import workspace
from lodestar.process.command_line import Parser, add_data, add_option, add_output, add_recipe
from lodestar.process.option_values import count, given, local_path
from lodestar.process.safe_text import one_line, quoted, write_stderr, write_stdout

DEFAULT_OUTPUT = "lodestar-run"
MAX_LISTED, SUBMITTED = 20, "submitted"
UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add `lodestar features` with `build`, `leak-test` and `skew-test` to the command line's parsers.

    Each sets `command` to a function from parsed options to the exit code; libraries are imported when it runs.
    """
    summary = "build features, test for target leakage and training-serving skew"
    examples = ["lodestar features build --tables shop/ --output features/", "lodestar features skew-test --last 24h"]
    features = commands.add_parser("features", help=summary, description=f"{summary.capitalize()}.", examples=examples)
    inner = features.add_subparsers(required=True, metavar="COMMAND")
    for add_command in (_add_build, _add_leak_test, _add_skew_test):
        add_command(inner)


def _add_build(inner: "argparse._SubParsersAction[Parser]") -> None:
    build = inner.add_parser(
        "build",
        help="build feature tables, here or on Spark",
        description="Build a feature set from ingested tables: feature tables, packed interactions for training, and labels. Prints its "
        "path.",
        examples=[
            "lodestar features build --tables shop/ --output features/",
            "lodestar features build --tables shop/ --output features/ --spark 'local[4]'",
        ],
    )
    add_option(build, "--tables", required=True)
    add_output(build, "folder of the feature set, replaced atomically")
    add_recipe(build)
    build.add_argument(
        "--spark",
        type=given,
        metavar="MASTER",
        help="build on Spark, such as local[4]; `submitted` under spark-submit (default: DuckDB, in this process)",
    )
    build.set_defaults(command=_build, doing="building the features")


def _add_leak_test(inner: "argparse._SubParsersAction[Parser]") -> None:
    test = inner.add_parser(
        "leak-test",
        help="check features for target leakage",
        description=(
            "Test for target leakage: build every feature view from all data and from the data known at sampled cutoffs, and compare the "
            "point-in-time joins. Exit code 4 if a view depends on later data."
        ),
        examples=["lodestar features leak-test --data clicks.csv", "lodestar features leak-test --data shop/ --cutoffs 50 --seed 1"],
    )
    add_data(test)
    test.add_argument("--cutoffs", type=count, default=20, metavar="N", help="number of sampled cutoffs")
    add_option(test, "--seed", help="seed of the sample")
    test.set_defaults(command=_leak_test, doing="testing for target leakage")


def _add_skew_test(inner: "argparse._SubParsersAction[Parser]") -> None:
    test = inner.add_parser(
        "skew-test",
        help="check training-serving skew",
        description=(
            "Test for training-serving skew: recompute the features of each logged request from the events known at its time, and compare "
            "them bit by bit. Exit code 4 if one differs, with the feature and both values."
        ),
        examples=[
            "lodestar features skew-test --last 24h",
            "lodestar features skew-test --feature-log s3://logs/features/ --tables shop/ --last 7d",
        ],
    )
    add_option(test, "--feature-log", type=given, default=f"{DEFAULT_OUTPUT}/feature-log.jsonl")
    meaning = "tables of runs elsewhere; a single one is also used for generations whose own tables are not found (repeatable)"
    add_option(test, "--tables", action="append", default=[], help=meaning)
    meaning = (
        "feature set of each served generation, which has the digest of its tables and the scale of counts (repeatable; default: all runs')"
    )
    add_option(test, "--features", type=local_path, action="append", default=[], help=meaning)
    meaning = "test requests of this last period, such as 90m, 24h, 7d (default: 24h)"
    test.add_argument("--last", type=_duration, default=timedelta(hours=24), metavar="TIME", help=meaning)
    test.set_defaults(command=_skew_test, doing="testing for training-serving skew")


def _build(options: argparse.Namespace) -> int:
    from lodestar.features.batch import build
    from lodestar.recipes import load_recipe, merge_overrides

    recipe = load_recipe(options.recipe, merge_overrides(options.overrides))
    if options.spark:
        from lodestar.features.spark import spark

        with spark.session("" if options.spark == SUBMITTED else options.spark) as session:
            spark.build_features(options.tables, options.output, recipe, session)
    else:
        build.build_features(options.tables, options.output, recipe)
    write_stdout(f"{options.output}\n")
    return 0


def _leak_test(options: argparse.Namespace) -> int:
    from lodestar.data.address import given_address
    from lodestar.data.ingest import ingest
    from lodestar.data.tables.tables import Tables
    from lodestar.errors import GateFailed
    from lodestar.monitoring.leaks import find_leaks, sample_cutoffs

    with workspace() as folder:
        tables = Tables(root=Path(folder) / "tables")
        ingest(given_address(options), tables.root, quarantine=options.quarantine)
        result = find_leaks(tables, sample_cutoffs(tables, options.cutoffs, options.seed))
    compared = f"{len(result.views)} views at {result.num_cutoffs} cutoffs, {result.rows:,} rows"
    if not result.leaks:
        sys.stdout.write(f"no leaks in {compared}\n")
        return 0
    write_stdout("".join(f"{one_line(str(leak))}\n" for leak in result.leaks[:MAX_LISTED]))
    raise GateFailed(f"{len(result.leaks):,} leaks in {compared}; the first {min(MAX_LISTED, len(result.leaks))} are listed")


def _skew_test(options: argparse.Namespace) -> int:
    from lodestar.data.tables.tables import Tables
    from lodestar.errors import GateFailed, UsageError
    from lodestar.io import storage
    from lodestar.monitoring import skew

    with workspace() as folder:
        source = storage.fetch(options.feature_log, Path(folder)) if storage.is_remote(options.feature_log) else Path(options.feature_log)
        files = sorted(source.rglob("*.jsonl")) if source.is_dir() else [source]
        if not files or not files[0].is_file():
            raise UsageError(f"there is no feature log at {options.feature_log}; serve with --feature-log to write one", code="E302")
        log, features = skew.read(files), options.features or _run_outputs("build-features/features")
        scales = dict(map(_count_scale, features))
        found = _find_tables(log.generations(options.last), options.tables, features)
        result = skew.check_skew(log, {generation: Tables(root=root) for generation, root in found.items()}, options.last, scales)
    identical = f"{result.identical:,}/{result.requests:,} identical"
    age = f"age of served features: median {_round_to_s(result.median_age)}, maximum {_round_to_s(result.oldest)}"
    if not result.differences:
        sys.stdout.write(f"{identical}; {age}\n")
        return 0
    write_stdout("".join(f"{one_line(str(difference))}\n" for difference in result.differences[:MAX_LISTED]))
    raise GateFailed(f"{identical}; {age}")


def _find_tables(generations: Collection[str], named: Sequence[Path], features: Sequence[Path]) -> dict[str, Path]:
    """Folder of the tables of each feature generation, also written to standard error; `named` folders precede those of local runs."""
    from lodestar.errors import UsageError
    from lodestar.features.batch import lineage

    if not (tables := [*named, *_run_outputs("ingest/tables")]):
        raise UsageError(f"there is no run in {DEFAULT_OUTPUT}; give the tables of the features with --tables", code="E302")
    found = lineage.find_tables(generations, features, tables, named[0] if len(named) == 1 else None)
    for generation, root in found.items():
        write_stderr(f"{one_line(f'feature generation {generation}: {root}')}\n")
    return found


def _run_outputs(artifact: str) -> list[Path]:
    """Paths of an artifact (STEP/NAME) of all runs in the default output folder."""
    return sorted(Path(DEFAULT_OUTPUT).glob(f".pipeline/*/{artifact}"))


def _count_scale(features: Path) -> tuple[str, dict[str, float]]:
    """Generation of a feature set and the scale of its counts; raises DataError E151 if the folder is not a feature set."""
    from lodestar.features.batch.feature_set import count_scale, generation_of

    scale = count_scale(features)
    return generation_of(features), scale


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a duration such as 90m, 24h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _round_to_s(age: timedelta) -> timedelta:
    return timedelta(seconds=round(age.total_seconds()))
